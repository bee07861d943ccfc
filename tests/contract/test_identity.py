"""What a result is called must never drift: defaults, fields and identities are frozen here.

A default that changes its value would keep the identity of results that the old value made. So a default never changes:
whoever wants another value writes it in a study, or adds a name. A new option is added here with the behaviour that
existed before it as its default.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparse_ortho.plan import options
from sparse_ortho.plan.fields import BUILD, INITIALIZE, TAKE, TRAIN
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.plan.measures import MOMENT
from sparse_ortho.plan.ticket_options import OPTIONS as TICKET
from sparse_ortho.registry import TABLES, resolve

KINDS = [
    "benches",
    "datasets",
    "densities",
    "inits",
    "measures",
    "models",
    "repairs",
    "rules",
    "scores",
    "structures",
    "tricks",
]
FROZEN = Path(__file__).with_name("frozen_defaults.json")
RAW = {
    "data": "digits",
    "model": {"name": "mlp", "width": 64},
    "mask": "erk",
    "init": "eoi",
    "density": 0.1,
    "train": {"epochs": 10, "batch_size": 64},
}


def surfaces() -> Iterator[str]:
    """Everything whose options enter an identity."""
    yield from (BUILD, TAKE, INITIALIZE, TRAIN, MOMENT, TICKET)
    for kind in KINDS:
        for name in TABLES[kind]:
            yield resolve(kind, name)


def test_every_option_keeps_its_default() -> None:
    now = {path: json.loads(json.dumps(options.defaults(path))) for path in surfaces()}
    frozen = json.loads(FROZEN.read_text())
    for path, fields in frozen.items():
        assert now.get(path) == now.get(path, {}) | fields, f"{path}: a frozen default changed or went away"
    missing = {path: fields for path, fields in now.items() if fields.keys() - frozen.get(path, {}).keys()}
    assert not missing, f"new options: add them to {FROZEN.name}: {json.dumps(missing)}"


def test_a_changed_default_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    path = resolve("inits", "kaiming")
    changed = options.fields_of(path) | {"gain": (float, 1.0)}
    monkeypatch.setattr(options, "fields_of", lambda p: changed if p == path else {})
    with pytest.raises(AssertionError, match="a frozen default changed"):
        test_every_option_keeps_its_default()


def test_identities_are_frozen() -> None:
    nodes = resolve_cell(RAW, "here").nodes
    assert {stage: node.id for stage, node in nodes.items()} == {
        "data": "digits-fb1009921fe7",
        "mask": "digits-mlp-erk-d0.1-1d1031439b0c",
        "init": "digits-mlp-erk-eoi-d0.1-c692f1498412",
        "train": "digits-mlp-erk-eoi-d0.1-f8114afd00e2",
        "measure": "digits-mlp-erk-eoi-d0.1-788824c79d01",
    }


@pytest.mark.parametrize(
    "same",
    [
        {"mask": {"score": "random", "layers": "erk"}},
        {"mask": {"layers": {"name": "erk", "power": 1.0}}},
        {"init": {"name": "eoi", "gain": 1}},
        {"init": {"gain": 1.0, "name": "eoi", "bias_std": 0}},
        {"model": {"width": 64, "name": "mlp", "depth": 7, "activation": "tanh"}},
        {"train": {"batch_size": 64, "epochs": 10, "momentum": 0.9, "milestones": [0.5, 0.75]}},
        {"data": {"name": "digits", "validation": 0.1}},
        {"density": 0.1000},
        {"score_init": "orthogonal"},  # a random score reads no weights
    ],
)
def test_spellings_of_one_cell_share_its_identity(same: dict[str, object]) -> None:
    assert resolve_cell(RAW | same, "here").id == resolve_cell(RAW, "here").id


@pytest.mark.parametrize(
    "other",
    [
        {"mask": "uniform"},
        {"mask": {"layers": {"name": "erk", "power": 0.5}}},
        {"mask": {"layers": {"layers.0.weight": 0.1}}},
        {"init": {"name": "eoi", "gain": 1.5}},
        {"init": {"name": "eoi", "bias_std": 0.1}},
        {"model": {"name": "mlp", "width": 65}},
        {"train": {"epochs": 64, "batch_size": 10}},
        {"data": {"name": "digits", "validation": 0.2}},
        {"density": 0.11},
        {"fixed_seeds": {"mask": 0}},
        {"fixed_seeds": {"order": 0}},
    ],
)
def test_anything_that_matters_changes_the_identity(other: dict[str, object]) -> None:
    assert resolve_cell(RAW | other, "here").id != resolve_cell(RAW, "here").id


def test_a_random_mask_does_not_depend_on_the_data_but_on_its_shape() -> None:
    spec = resolve_cell(RAW, "here").nodes["mask"].spec
    assert "inputs" not in spec and spec["shape"] == [1, 8, 8]


def test_identities_do_not_depend_on_the_process() -> None:
    """Hash randomisation must not reach them."""
    script = (
        "import json, sys; from sparse_ortho.plan.identity import resolve_cell;"
        "print(resolve_cell(json.loads(sys.argv[1]), 'here').id)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script, json.dumps(RAW)],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert found == {resolve_cell(RAW, "here").id + "\n"}
