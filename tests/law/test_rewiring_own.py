"""Criteria of the user's own, by import path: checked by the plan, in the code of their cells, used by the training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.plan import digest
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.registry import load
from tests.law.test_rewiring_released import RAW

SOURCE = """
from my_helper import sign
READS = {"of_momentum": ("momentum",)}

def my_drop(layers, counts, memory, *, gamma: float = 1.0):
    memory["calls"] = memory.get("calls", 0) + 1
    return {name: sign() * layer.weight.abs() for name, layer in layers.items()}  # the largest leave

def my_growth(layers, counts):
    found = {}
    for name, layer in layers.items():
        places = layer.free.view(-1).nonzero().view(-1)[: counts[name]]
        found[name] = layer.free.view(-1).new_zeros(layer.size).index_fill(0, places, True).view(layer.mask.shape)
    return found

def my_shares(layers):
    return {name: float(layer.size) for name, layer in layers.items()}

def of_momentum(layers, counts, memory):
    return {name: layer.momentum for name, layer in layers.items()}

def greedy(layers, counts):
    return {name: layer.free for name, layer in layers.items()}

def flat(layers, counts, memory):
    return {name: layer.weight.view(-1) for name, layer in layers.items()}

def one(x):
    return x

value = 3
"""
HELPER = "def sign():\n    return -1.0\n"
DROP = "my_module:my_drop"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_module.py").write_text(SOURCE)
    (tmp_path / "my_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    monkeypatch.setattr(digest, "_is_ours", lambda module: module.partition(".")[0] in digest.PACKAGES)
    package = Path(so.__file__).parents[1]
    (tmp_path / "sparse_ortho").symlink_to(package / "sparse_ortho")
    (tmp_path / "workflow_scripts").symlink_to(package / "workflow_scripts")
    digest.forget_sources()
    yield tmp_path
    for name in ("my_module", "my_helper"):
        sys.modules.pop(name, None)
    digest.forget_sources()


def node(rule: Any) -> Any:
    return resolve_cell(RAW | {"rule": rule}, "here").nodes["train"]


def code(rule: Any) -> str:
    digest.forget_sources()
    return digest.stage_code("train", node(rule).methods)


def test_a_function_of_the_users_own_is_part_of_identity_and_code(folder: Path) -> None:
    rule = {
        "name": "sparse_momentum",
        "drop": DROP,
        "growth": "my_module:my_growth",
        "redistribution": "my_module:my_shares",
    }
    mine, plain = node(rule), node("sparse_momentum")
    assert mine.id != plain.id and DROP in mine.methods and DROP not in plain.methods
    before, others = code(rule), code("sparse_momentum")
    for file, old, new in (
        ("my_module.py", "layer.weight.abs()", "layer.weight.square()"),
        ("my_helper.py", "-1.0", "-2.0"),
    ):
        (folder / file).write_text((folder / file).read_text().replace(old, new))
        after = code(rule)
        assert after != before, file
        before = after
    (folder / "my_helper.py").write_text("# a comment\n" + (folder / "my_helper.py").read_text())
    assert code(rule) == before and code("sparse_momentum") == others


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        ("no_module:my_drop", "here.rule.drop: there is no module no_module"),
        ("my_module:my_dorp", "defines no such function .*did you mean 'my_drop'"),
        ("my_module:value", "defines no such function"),
        ("my_module:one", r"one must take \(layers, counts, memory\) \(found '1 arguments'\)"),
        ("my module:one", "is no module:function"),
        ("broken:my_drop", r"broken\.py, line 1: "),
        ("my_module:of_momentum", None),
    ],
)
def test_the_plan_refuses_what_it_can_see(folder: Path, drop: str, words: str | None) -> None:
    (folder / "broken.py").write_text("def my_drop(:\n")
    if words:
        with pytest.raises(UserError, match=words):
            node({"name": "dst", "drop": drop})
    else:
        with pytest.raises(UserError, match="reads momentum"):
            resolve_cell(RAW | {"rule": {"name": "dst", "drop": drop}, "train": {"momentum": 0}}, "here")


def trained(**options: Any) -> so.SparseTraining:
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.5, 0.6, 0.0, 0.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    sparse = so.SparseTraining(
        model, optimizer, {"weight": mask}, "dst", every=1, stop=9, fraction=0.5, decay="constant", **options
    )
    model.weight.sum().backward()
    sparse.step()
    return sparse


def test_it_drops_and_grows_what_it_says(folder: Path) -> None:
    sparse = trained(drop=DROP, growth="my_module:my_growth", may_return=False)
    assert sparse.masks["weight"].int().tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]
    assert sparse.state_dict()["memory"] == {"calls": 1}
    import my_module  # pyright: ignore[reportMissingImports]

    assert trained(drop=my_module.my_drop).masks["weight"][0].int().tolist()[2:] == [1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"growth": "my_module:greedy"}, "greedy: let 6 free weights grow where 2 were asked for"),
        ({"drop": "my_module:flat"}, r"flat: must return a tensor of shape \(2, 4\) for layer 'weight'"),
        ({"drop": "my_module:nothing"}, "rule.dst.drop: cannot be imported"),
        ({"drop": "my_module:value"}, "rule.dst.drop: is no function"),
        ({"drop": "magnitud"}, "rule.dst.drop: unknown choice .*did you mean 'magnitude'"),
    ],
)
def test_mistakes_in_a_function_are_one_sentence(folder: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        trained(**options)


@pytest.mark.parametrize("rule", ["dst", "granet", "sparse_momentum"])
def test_a_rule_that_lets_weights_grow_cannot_be_told_to_let_none(rule: str) -> None:
    with pytest.raises(UserError, match=rf"rule\.{rule}\.growth: unknown choice"):
        load("rules", rule)(growth="none")
