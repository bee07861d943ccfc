"""What every registered rule promises, and the way of a rule through the plan, the stages and one run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.artifacts import read_tables
from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import stage_modules
from sparse_ortho.plan.grid import axis_value, overlay
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.options import defaults, literal_of
from sparse_ortho.registry import available, resolve
from tests.conftest import ROOT

RULES = available()["rules"]
MOVING = [name for name in RULES if name != "static"]
# Rules that another part of the training carries out, and those whose budget has a unit of its own, have own tests.
OWN = ("LOOSE", "PART", "UNIT")
COUNTING = [n for n in RULES if not any(literal_of(resolve("rules", n), word, "") for word in OWN)]
RAW: dict[str, Any] = {
    "data": "digits",
    "model": {"name": "mlp", "width": 64},
    "mask": "erk",
    "init": "eoi",
    "density": 0.1,
    "train": {"epochs": 10, "batch_size": 64},
}


class Net(nn.Module):
    """A convolution, a depthwise one, one that is as good as dense, and a classifier; 1,064 maskable weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)  # 72
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)  # 72
        self.fc = nn.Linear(8 * 4 * 3, 8)  # 768
        self.out = nn.Linear(8, 4)  # 32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.bn(self.conv(x)).relu()).relu()
        return self.out(self.fc(x.flatten(1)).relu())


SIZE = 72 + 72 + 768 + 32


def trained(rule: str, density: float, steps: int = 13) -> tuple[nn.Module, so.SparseTraining]:
    """The whole of a short training by Adam, which has all that a rule may ask of an optimizer."""
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    given = {"density_stop": 6} if "density_stop" in defaults(resolve("rules", rule)) else {}
    masks = so.make_masks(model, density, seed=0)
    sparse = so.SparseTraining(model, optimizer, masks, rule, every=3, stop=12, steps=steps, steps_per_epoch=4, **given)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 1, 4, 3, generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(x), (x.sum((1, 2, 3)) > 0).long()).backward()
        sparse.step()
    return model, sparse


@pytest.mark.parametrize("density", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("rule", COUNTING)
def test_every_rule_ends_at_its_budget_with_masked_weights_at_zero(rule: str, density: float) -> None:
    last = defaults(resolve("rules", rule)).get("final_density", density)
    if last > density:
        with pytest.raises(UserError, match=rf"rule\.{re.escape(rule)}\.final_density: is above that of the masks"):
            trained(rule, density)
        return
    model, sparse = trained(rule, density)
    assert sparse.masks.nonzeros == budget(last, SIZE)
    for name, mask in sparse.masks.items():
        weight = model.get_parameter(name)
        assert weight.isfinite().all() and not weight[~mask].any()
    assert sparse.report()["steps"] == 13 and (sparse.report()["updates"] > 0) == (rule != "static")


@pytest.mark.parametrize("rule", [name for name in RULES if not literal_of(resolve("rules", name), "PART", "")])
def test_every_rule_repeats(rule: str) -> None:
    density = 1.0 if rule == "n_m" else 0.3
    (model, sparse), (twin, same) = trained(rule, density), trained(rule, density)
    assert sparse.masks.digest() == same.masks.digest()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    if rule != "static":
        assert sparse.masks.digest() != so.make_masks(Net(), density, seed=0).digest()


# --- the plan


def test_a_cell_without_a_rule_is_one_with_static_masks() -> None:
    plain = resolve_cell(RAW, "here").nodes["train"]
    for static in (None, "static", {"name": "static"}):
        assert resolve_cell(RAW | {"rule": static}, "here").nodes["train"] == plain
    assert "rule" not in plain.spec and not [path for path in plain.methods if "rewiring" in path]


@pytest.mark.parametrize("rule", MOVING)
def test_a_rule_is_part_of_the_training_alone_and_of_its_name(rule: str) -> None:
    raw = RAW | {"density": 0.5, "rule": rule}  # which every rule accepts
    plain, node = resolve_cell(RAW | {"density": 0.5}, "here").nodes, resolve_cell(raw, "here").nodes
    assert [stage for stage in plain if plain[stage] != node[stage]] == ["train"]
    assert node["train"].id.startswith(f"digits-mlp-erk-eoi-{rule}-d0.5-")
    assert node["train"].spec["rule"] == {"name": rule}
    assert resolve("rules", rule) in node["train"].methods
    written = {"name": rule} | defaults(resolve("rules", rule))
    assert resolve_cell(raw | {"rule": written}, "here").id == node["train"].id


def test_options_of_a_rule_change_the_identity_and_a_number_is_a_fraction() -> None:
    def identity(**options: Any) -> str:
        return resolve_cell(RAW | {"rule": {"name": "rigl", **options}}, "here").id

    assert identity(stop=0.75) == identity(stop="0.75") == identity()
    assert len({identity(), identity(stop=0.5), identity(every="50it"), identity(fraction=0.5)}) == 4


def test_editing_a_rule_makes_only_its_own_trainings_stale() -> None:
    def modules(rule: str | None) -> set[str]:
        methods = resolve_cell(RAW | {"density": 0.5, "rule": rule}, "here").nodes["train"].methods
        kinds = ("sparse_ortho.rewiring", "sparse_ortho.learned")
        return {name for name in stage_modules("train", methods) if name.startswith(kinds)}

    assert modules(None) == set()
    files = {rule: resolve("rules", rule).partition(":")[0] for rule in MOVING}
    for rule in MOVING:
        assert modules(rule) & set(files.values()) == {files[rule]}
    assert "sparse_ortho.rewiring.drops" in modules("rigl")


def test_a_rule_is_an_axis_and_its_options_are() -> None:
    cell = overlay(RAW, {"rule": "rigl", "rule.every": "50it"}, "here")
    assert cell["rule"] == {"name": "rigl", "every": "50it"}
    assert [axis_value(c, "rule", "here") for c in (RAW, cell)] == ["static", "rigl"]
    assert axis_value(cell, "rule.every", "here") == "50it"


DENSE = {"mask": "dense", "density": 1, "init": "kaiming"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "rigel"}, "here.rule: unknown rule .*'rigel'.*did you mean 'rigl'"),
        ({"rule": {"name": "rigl", "evry": "5it"}}, "here.rule.evry: unknown key .*did you mean 'every'"),
        ({"rule": {"every": "5it"}}, "here.rule.name: is required but absent"),
        ({"rule": 3}, "here.rule: must be a name, or a mapping"),
        ({"rule": {"name": "static", "every": "5it"}}, "here.rule.every: unknown key"),
        ({"rule": {"name": "rigl", "every": "5 steps"}}, "here.rule.every: is no length of time"),
        ({"rule": {"name": "rigl", "every": 100}}, "here.rule.every: a number without ep or it is a fraction"),
        ({"rule": {"name": "rigl", "fraction": 1.5}}, r"here.rule.fraction: out of range \(found 1.5\)"),
        ({"rule": {"name": "dst", "growth": "momntum"}}, "here.rule.growth: .*'momentum'"),
        ({"rule": {"name": "gmp", "final_density": 0.2}}, "final_density: is above the cell's density, 0.1 "),
        ({"rule": {"name": "gmp", "final_density": 0}}, r"here.rule.final_density: out of range"),
        ({"rule": "rigl", **DENSE}, "here.rule: a dense cell has no mask that this rule could move .*'rigl'"),
        ({"rule": {"name": "dsr", "target": 0}}, r"here.rule.target: out of range \(found 0.*\); allowed: above 0"),
        ({"rule": {"name": "dsr", "slower": ["often"]}}, "here.rule.slower: is no length of time"),
        ({"rule": {"name": "srigl", "gamma": 1.5}}, r"here.rule.gamma: out of range .*allowed: \[0, 1\]"),
        ({"rule": "n_m", "density": 0.3}, "here.rule: keeps 2 of 4 weights, so the cell is dense or has that density"),
        ({"rule": "sparse_momentum", "train": {"momentum": 0}}, "reads momentum, and train.momentum is 0"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_cell(RAW | change, "here")


@pytest.mark.parametrize("rule", ["ac_dc", "end_pruning", "gmp", "granet", "n_m", "top_kast"])
def test_what_thins_out_may_start_from_a_dense_network(rule: str) -> None:
    assert resolve_cell(RAW | DENSE | {"rule": rule}, "here").id.startswith(f"digits-mlp-dense-kaiming-{rule}-d1-")


# --- one run


def run(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARSE_ORTHO")}
    words = ["--set", "model.width=32", "train.epochs=4", *settings]
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.run", "--device", "cpu", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def record(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (path,) = re.findall(r"^records: (.+)$", done.stderr, re.MULTILINE)
    (row,) = read_tables([folder / path])
    assert row["status"] == "ok"
    return row


def test_a_run_follows_its_rule_and_comes_from_the_store_the_second_time(tmp_path: Path) -> None:
    settings = ["rule=rigl", "rule.every=5it", "density=0.2"]
    row = record(tmp_path, run(tmp_path, *settings))
    assert row["test_accuracy_last"] > 50 and row["nonzeros"] == budget(0.2, row["weights"])
    again = run(tmp_path, *settings)
    assert "train 1/" not in again.stderr and record(tmp_path, again) == row


def test_a_dense_run_is_pruned_to_its_final_density(tmp_path: Path) -> None:
    row = record(
        tmp_path, run(tmp_path, "rule={name: gmp, every: 5it, final_density: 0.05}", "mask=dense", "init=kaiming")
    )
    assert row["nonzeros"] == budget(0.05, row["weights"])
