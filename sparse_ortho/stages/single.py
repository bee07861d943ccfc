"""One run without a study: the same plan, store, stages and errors, for a cell typed on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_facts, read_tables
from sparse_ortho.errors import UserError
from sparse_ortho.plan import paths
from sparse_ortho.plan.fields import BUILD, INITIALIZE, TAKE, TRAIN
from sparse_ortho.plan.grid import KEYS, overlay
from sparse_ortho.plan.identity import Cell, Node, resolve_cell
from sparse_ortho.plan.job import Job
from sparse_ortho.plan.options import defaults
from sparse_ortho.plan.shapes import refuse_unreachable
from sparse_ortho.plan.surroundings import set_environment
from sparse_ortho.plan.tickets import rungs
from sparse_ortho.plan.trainings import carried, task_of
from sparse_ortho.plan.workflow import Plan
from sparse_ortho.registry import resolve, table
from sparse_ortho.stages import data, init, mask, ticket, train
from sparse_ortho.stages.bundle import Context

START = {"data": "digits", "model": "mlp", "mask": "erk", "init": "eoi", "density": 0.1}
MEANING = {
    "data": "data set",
    "model": "network",
    "mask": "which weights are kept: a density scheme, a score, dense, {score: ..., layers: ...}, or {file: ...}",
    "density": "fraction of the weights that is kept, in (0, 1]",
    "init": "initialisation",
    "rule": "how the masks change in training: the name of a rule, or {name: ..., every: ...} (static: they do not)",
    "score_init": "initialisation that a score reading weights sees (kaiming)",
    "ticket": "a lottery ticket: {levels: 3, rate: 0.2}, rounds of training and pruning before the network is trained",
    "train": "how it is trained",
    "measure": "what stage measure computes (in exhibits, not in a run)",
    "bench": "what stage bench measures: times, matrices (in exhibits, not in a run)",
    "tricks": "what helps a training for a while: {soft: swish, ghost: conv1x1, smoothing: 0.1}",
    "fixed_seeds": "purpose -> seed, to share one stream among all seeds: {order: 0}",
    "seeds": "list of seeds ([0])",
}


def cell_of(settings: Sequence[tuple[str, Any]]) -> tuple[Cell, list[int]]:
    """The cell of `key=value` settings over the defaults, and its seeds."""
    given = dict(settings)
    seeds = given.pop("seeds", [0])
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = [seeds]
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise UserError("seeds", "must be a list of whole numbers from 0", found=seeds)
    for key in given:
        if key.partition(".")[0] not in KEYS:
            raise UserError("--set", "unknown key", found=key, allowed=[*KEYS, "seeds"])
        if key.partition(".")[0] in ("bench", "measure"):
            raise UserError(
                f"--set.{key}", "a run trains a network; an exhibit of a study shows measurements and benches"
            )
    spoken = str(given.get("mask", ""))
    start = {key: value for key, value in START.items() if not (key == "init" and spoken.endswith(("_AI", "_EI")))}
    if spoken == "dense":
        start.pop("density")
    cell = resolve_cell(overlay(start, given, "--set"), "--set")
    refuse_unreachable(cell, "--set")
    return cell, sorted(set(seeds))


def main(cell: Cell, seeds: list[int], plan: Plan, context: Context) -> Path:
    """Make everything that the cell needs and return the path of its records."""
    folder = Path(paths.RESULTS, "runs", cell.id)
    images = paths.bundle("data", cell.nodes["data"].id)
    files = {stage: str(folder / f"{stage}.safetensors") for stage in ("mask", "init")}
    records, curves = str(folder / "records.parquet"), str(folder / "curves.parquet")
    set_environment(plan)
    nodes: dict[str, list[Node]] = {}
    for node in cell.needed("train"):
        nodes.setdefault(node.stage, []).append(node)
    job = _job(nodes["data"], [], plan)
    if job.more or not _same(images, job):  # files of the user's own may have changed
        data.main(job, context, images)
    masks = []
    if "mask" in nodes:
        mask.main(_job(nodes["mask"], seeds, plan), context, [images], files["mask"])
        _refuse(files["mask"])
        masks = [files["mask"]]
    init.main(_job(nodes["init"], seeds, plan), context, masks, files["init"], [images])
    _refuse(files["init"])
    starts = [files["init"]]
    for depth, level in rungs(nodes.get("ticket", [])).items():
        job, place = _job(level, seeds, plan), str(folder / f"ticket{depth}.safetensors")
        job = replace(job, more=carried(job.bundle, plan.env("train"), level, nodes["train"], lambda node: seeds))
        ticket.main(job, context, images, starts, starts, place)
        _refuse(place)
        starts = [*starts, place]
    train.main(_job([cell.nodes["train"]], seeds, plan), context, images, starts, records, curves)
    for row in read_tables([records]):
        reached = f"test accuracy {row['test_accuracy_last']:.2f} %" if row["status"] == "ok" else row["reason"]
        context.say(f"seed {row['seed']}: {row['status']}, {reached}, density {row['density']:.4f}")
    context.say(f"records: {records}")
    return Path(records)


def _job(nodes: Sequence[Node], seeds: list[int], plan: Plan) -> Job:
    """Of one stage, with all that a cell needs of it."""
    node = nodes[0]
    tasks = [task_of(each, seeds) for each in nodes]
    return Job(node.stage, f"run-{node.id}", plan.env(node.stage), tasks, plan.more(node.stage, *nodes))


def _refuse(path: str) -> None:
    """End with what a method said if it refused a seed: nothing is trained then."""
    for cell in read_facts(path)["cells"].values():
        for seed, entry in cell["seeds"].items():
            if entry["row"]["status"] != "ok":
                raise UserError(f"seed {seed}", entry["row"]["reason"])


def _same(path: str, job: Job) -> bool:
    """Whether the artifact at `path` is what the job would make."""
    if not Path(path).is_file():
        return False
    facts, (task,) = read_facts(path), job.cells
    return (facts["spec"], facts["code"], facts["env"]) == (dict(task.spec), task.code, dict(job.env))


def help_text() -> str:
    """Keys, defaults and meaning, from the sources themselves."""
    lines = ["keys of --set (an option is written model.width=64, or model={name: mlp, width: 64}):"]
    lines += [f"  {key:12} {START.get(key, ''):<8} {MEANING[key]}" for key in (*KEYS, "seeds")]
    kinds = {
        "data": "datasets",
        "model": "models",
        "init": "inits",
        "mask (layers)": "densities",
        "mask (score)": "scores",
        "mask (structure)": "structures",
        "mask (repair)": "repairs",
        "rule": "rules",
        "tricks": "tricks",
    }
    for key, kind in kinds.items():
        lines.append(f"{key}:")
        lines += [f"  {name:24} {_options(resolve(kind, name))}" for name in table(kind)]
    shared = {"every data": (BUILD, TAKE), "every init": (INITIALIZE,), "train": (TRAIN,)}
    return "\n".join([*lines, *(f"{key}:  {_options(*every)}" for key, every in shared.items())])


def _options(*paths: str) -> str:
    found: Mapping[str, Any] = defaults(*paths)
    return ", ".join(f"{name}={value}" for name, value in found.items())
