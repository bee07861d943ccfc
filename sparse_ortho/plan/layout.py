"""Where everything is: the bundles of every study at one scale, what holds a cell, what a bundle reads."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.devices import resolve as resolve_device
from sparse_ortho.errors import UserError
from sparse_ortho.plan import bundles, cost, job, memory, paths, studies, user_files
from sparse_ortho.plan.bundles import Bundle
from sparse_ortho.plan.config import Config, parse
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.fields import TRAIN
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.options import defaults
from sparse_ortho.plan.studies import ScaledStudy
from sparse_ortho.plan.tickets import depths

NEARBY = 5  # names that an error offers, of possibly thousands
STAGES = ("data", "mask", "init", "ticket", "train", "measure", "bench")
SIZE = {"mask": 4, "init": 4, "ticket": 1, "train": 1, "measure": 4, "bench": 4}  # times the configured cells
MOST = {"mask": 256, "init": 256}  # cells of a process: a mask takes 10 ms, the start of torch 1.5 s
PLENTY = 64  # cells of a process of any other stage; so many fit one job's text, or the plan says that they do not
HELD = 2e9  # bytes of results that one process keeps in memory until it writes them


class Layout:
    """Everything that is to be made at one scale, study by study, resolved when first asked for."""

    def __init__(self, config: Mapping[str, Any], root: Path = ROOT):
        self.config = parse(Config, dict(config), "config.yaml")
        self.root = root
        self.device = resolve_device(self.config.device)
        self.names = studies.names(root)
        self.places = user_files.places(self.config.paths, root)
        for name in self.config.studies:
            if name not in self.names:
                raise UserError("config.yaml: studies", "unknown study", found=name, allowed=self.names)
        self._studies: dict[str, ScaledStudy] = {}
        self._scales: dict[str, frozenset[str]] = {}
        self._bundles: dict[str, dict[str, dict[str, Bundle]]] = {}
        self._holders: dict[str, dict[tuple[str, str], list[Bundle]]] = {}
        self._trainings: dict[str, Node] = {}  # of the ladders

    # what there is -----------------------------------------------------------------------------------------------

    def study(self, name: str) -> ScaledStudy:
        if name not in self._studies:
            self._studies[name] = studies.at_scale(name, self.config.scale, self.root)
        return self._studies[name]

    def bundles(self, study: str, stage: str) -> dict[str, Bundle]:
        """The bundles of a stage of a study, by name."""
        if study not in self._bundles:
            self._bundles[study] = {stage: dict(self._pack(study, stage)) for stage in STAGES}
            holders: dict[tuple[str, str], list[Bundle]] = {}
            for found in self._bundles[study].values():
                for bundle in found.values():
                    for node in bundle.nodes:
                        holders.setdefault((bundle.stage, node.id), []).append(bundle)
            self._holders[study] = holders
        return self._bundles[study][stage]

    def bundle(self, stage: str, name: str) -> Bundle:
        """The bundle of that name; a data bundle is named by its node and may belong to any study."""
        if stage == "data":
            return self._find(name, "data")[1][0]
        study = self._study_of(name)
        known = self.bundles(study, stage) if study in self.studies_here() else {}
        if name not in known:
            raise UserError(f"{stage} bundle", "no such bundle at this scale", found=name, allowed=nearby(name, known))
        return known[name]

    def studies_here(self) -> list[str]:
        """The studies that this scale has."""
        return [name for name in self.names if self._has_scale(name)]

    def exhibits(self, study: str) -> list[str]:
        """The files of all exhibits of a study at this scale."""
        shown = self.study(study).exhibits
        return [p for name, (e, _, _) in shown.items() for p in paths.exhibit(e.kind, study, self.config.scale, name)]

    def records(self, study: str) -> list[str]:
        """The records of a study: results too, so a deleted one comes back."""
        trained = self.bundles(study, "train")
        found = [path for name in trained for path in (paths.bundle("train", name), paths.curves(name))]
        return found + [paths.bundle(s, name) for s in ("measure", "bench") for name in self.bundles(study, s)]

    def targets(self) -> list[str]:
        """The exhibits of the configured studies: what the report shows."""
        return [path for study in self.config.studies for path in self.exhibits(study)]

    def all_records(self) -> list[str]:
        return [path for study in self.config.studies for path in self.records(study)]

    # what a rule reads -------------------------------------------------------------------------------------------

    def inputs(self, stage: str, name: str, *roles: str) -> list[str]:
        """The artifacts of an earlier stage that a bundle reads."""
        bundle = self.bundle(stage, name)
        study = self._study_of(name) if stage != "data" else ""
        found: dict[str, None] = {}
        for node, role in itertools.product(bundle.nodes, roles):
            if identity := node.inputs.get(role):
                planned = self.study(study).seeds
                pair = node.spec.get("pair")  # two seeds are compared, so any may be the other one
                seeds = set(planned[identity] if pair else bundle.seeds_of(planned[node.id]))
                for holder in self._held(study, role, identity):
                    if holder.seeds is None or seeds & set(holder.seeds):
                        found[paths.bundle(holder.stage, holder.name)] = None
        return sorted(found)

    def holders(self, identity: str, stage: str = "train") -> list[str]:
        """The artifacts that hold a cell, over all studies: what a single one is cut out of."""
        return [paths.bundle(stage, bundle.name) for bundle in self._find(identity, stage)[1]]

    def cell_inputs(self, identity: str, role: str) -> list[str]:
        """What the training of one cell reads."""
        found = [path for bundle in self._find(identity)[1] for path in self.inputs("train", bundle.name, role)]
        return sorted(set(found))

    def exhibit_inputs(self, study: str, name: str) -> list[str]:
        """What an exhibit reads: records, curves or initialised weights of its cells."""
        exhibit, grid, views = self.study(study).exhibits[name]
        stage, reads = studies.last_stage(exhibit), studies.reads(exhibit)
        curves, records = reads in ("curves", "runs"), grid.tune or reads == "runs"
        self.bundles(study, stage)
        found: dict[str, None] = {}
        for view in views:
            node = self.study(study).cells[view.id].nodes[stage]
            for bundle in self._held(study, stage, node.id):
                if bundle.seeds is None or set(view.seeds) & set(bundle.seeds):
                    found[paths.curves(bundle.name) if curves else paths.bundle(bundle.stage, bundle.name)] = None
                    if records:  # of a tuned exhibit they say which trial is drawn
                        found[paths.bundle("train", bundle.name)] = None
        return sorted(found)

    # what a job takes --------------------------------------------------------------------------------------------

    def threads(self, name: str, stage: str = "train") -> int:
        """Cores of a bundle that trains: those of every rank."""
        return max((int(t["threads"]) * int(t["ranks"]) for t in self._trained(stage, name)), default=1)

    def minutes(self, stage: str, name: str) -> int:
        """Nominal run time of a bundle with a margin, for a scheduler."""
        return 10 + int(2 * self.seconds(self.bundle(stage, name)) / 60)

    def memory(self, stage: str, name: str) -> int:
        """Megabytes of a bundle, for a scheduler."""
        bundle, planned = self.bundle(stage, name), self.study(self._study_of(name)).seeds
        return memory.megabytes((node, bundle.seeds_of(planned[node.id])) for node in bundle.nodes)

    def seconds(self, bundle: Bundle) -> float:
        """The nominal cost of a bundle; a data set has no seeds and costs nothing."""
        if bundle.stage == "data":
            return 0.0
        planned = self.study(self._study_of(bundle.name)).seeds
        return sum(self.seed_seconds(node) * len(bundle.seeds_of(planned[node.id])) for node in bundle.nodes)

    def urgency(self, stage: str, name: str) -> int:
        """What takes longest begins first: else it would run alone at the end."""
        return int(self.seconds(self.bundle(stage, name)))

    def gpus(self, stage: str, name: str) -> int:
        """Devices of a bundle that trains: one for every rank."""
        if stage not in ("ticket", "train") or self.device != "cuda":
            return 0
        return max((int(options["ranks"]) for options in self._trained(stage, name)), default=1)

    def training_of(self, node: Node) -> Node | None:
        """The training that is a part of a node: of a level of a ladder, that of the level below."""
        return node if node.stage == "train" else self._trainings.get(node.inputs.get("train", ""))

    def _trained(self, stage: str, name: str) -> list[dict[str, Any]]:
        """The options of every training that a bundle does."""
        nodes = [self.training_of(node) for node in self.bundle(stage, name).nodes]
        return [defaults(TRAIN) | dict(node.spec["train"]) for node in nodes if node]

    # inside ------------------------------------------------------------------------------------------------------

    def seed_seconds(self, node: Node) -> float:
        trained = self.training_of(node) if node.stage == "ticket" else None
        more = cost.seed_seconds(trained, self.device) if trained else 0.0
        return more + cost.seed_seconds(node, self.device)

    def _held(self, study: str, role: str, identity: str) -> list[Bundle]:
        """The bundles of a node; what a network starts from may be its initialisation or a ticket."""
        holders = self._holders[study]
        return holders.get((role, identity)) or holders["ticket", identity]

    def _pack(self, study: str, stage: str) -> Iterable[tuple[str, Bundle]]:
        scaled = self.study(study)
        if stage == "data":
            return [(node.id, Bundle("data", node.id, (node,))) for node in scaled.nodes("data")]
        rungs: dict[str, int] = {}
        if stage == "ticket":
            self._trainings |= {node.id: node for node in scaled.nodes("train")}
            rungs = depths({node.id: node for node in scaled.nodes("ticket")})
        forms = bundles.forms(scaled.nodes("data"))
        size = 1 if self.config.bundle == 1 else min(MOST.get(stage, PLENTY), self.config.bundle * SIZE[stage])
        packed = bundles.pack(
            stage,
            f"{study}-{self.config.scale}",
            scaled.nodes(stage),
            size,
            lambda node: scaled.seeds[node.id],
            self.seed_seconds,
            60 * self.config.split_minutes,
            lambda node: cost.seed_bytes(node) * len(scaled.seeds[node.id]) / HELD,
            lambda node: (f"l{rungs[node.id]}" if rungs else "") + forms.get(node.inputs.get("data", ""), ""),
            lambda nodes: len(nodes) <= PLENTY or job.length([node.spec for node in nodes]) <= job.LIMIT,
        )
        return [(bundle.name, bundle) for bundle in packed]

    def _find(self, identity: str, stage: str = "train") -> tuple[str, list[Bundle]]:
        """The study that has a node, and the bundles that hold it."""
        for study in self.studies_here():
            self.bundles(study, stage)
            if found := self._holders[study].get((stage, identity)):
                return study, found
        known = [node.id for study in self.studies_here() for node in self.study(study).nodes(stage)]
        raise UserError(
            stage, f"no such cell at scale {self.config.scale}", found=identity, allowed=nearby(identity, known)
        )

    def _study_of(self, bundle: str) -> str:
        return bundle.partition("-")[0]

    def _has_scale(self, study: str) -> bool:
        if study not in self._scales:  # a question of every bundle, and YAML is slow to read
            self._scales[study] = frozenset(studies.read(study, self.root)[0].scales)
        return self.config.scale in self._scales[study]


def nearby(name: str, known: Iterable[str]) -> list[str]:
    """The few known names closest to one that is unknown."""
    choices = list(known)
    return difflib.get_close_matches(name, choices, n=NEARBY, cutoff=0.3) or sorted(choices)[:NEARBY]
