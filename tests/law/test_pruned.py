"""A network pruned after its training: by hand, as the rule `end_pruning` leaves it, and one training for a sweep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sparse_ortho.budgets import budget
from sparse_ortho.errors import UserError
from sparse_ortho.measure.pruned import pruned
from sparse_ortho.measure.subject import Subject
from sparse_ortho.plan.identity import resolve_cell
from sparse_ortho.registry import load
from sparse_ortho.streams import Streams
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.losses import cross_entropy
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from tests.law.test_training import CPU, FACTS, network, toy

WEIGHTS = ([[4.0, -3.0, 0.5, 0.1]], [[-0.9], [0.2], [0.3], [0.4]])


def eight() -> nn.Sequential:
    """Layers of four weights each, without an activation between them: class i has slope second[i] * (first . x)."""
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False))
    with torch.no_grad():
        for layer, values in zip(model, WEIGHTS, strict=True):
            layer.get_parameter("weight").copy_(torch.tensor(values))
    return model


def subject(x: torch.Tensor, y: torch.Tensor, masks: Any = None) -> Subject:
    return Subject(lambda part, count, size: [(x, y)] if part == "test" else [], cross_entropy, Streams(0), masks or {})


@pytest.mark.parametrize(
    ("scope", "first", "second"),
    [("global", [4.0, -3.0, 0.5, 0], [-0.9, 0, 0, 0]), ("even", [4.0, -3.0, 0, 0], [-0.9, 0, 0, 0.4])],
)
def test_the_largest_of_eight_weights_stay(scope: Any, first: list[float], second: list[float]) -> None:
    x = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 1.0, 0, 0]])
    y = torch.tensor([3, 0, 3, 0])
    model = eight()
    logits = (x @ torch.tensor(first))[:, None] * torch.tensor(second)
    found = pruned(model, subject(x, y), density=0.5, scope=scope)
    assert found["kept"] == 4
    assert found["accuracy"] == 100.0 * float((logits.argmax(1) == y).double().mean())
    assert found["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, y)), rel=1e-6)
    assert [w.tolist() for w in model.parameters()] == [torch.tensor(v).tolist() for v in WEIGHTS], "left as it was"


def test_of_a_sparse_network_only_active_weights_stay_and_more_is_refused() -> None:
    x, y = torch.eye(4), torch.arange(4)
    masks = {"0.weight": torch.tensor([[False, True, True, True]]), "1.weight": torch.zeros(4, 1, dtype=torch.bool)}
    found = pruned(eight(), subject(x, y, masks), density=0.25)
    assert found["kept"] == 2 and found["loss"] == pytest.approx(float(torch.log(torch.tensor(4.0))), rel=1e-6)
    with pytest.raises(UserError, match=r"measure\.density: is above what the network has, 3 of 8"):
        pruned(eight(), subject(x, y, masks), density=0.5)


def trained(density: float | None, scope: str = "global") -> Any:
    model = network()
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if p.dim() > 1}
    parts = [Rewired(load("rules", "end_pruning")(final_density=density, scope=scope))] if density else []
    given = TrainOptions(epochs=3, batch_size=5, lr=0.05)
    data = resident(toy(), FACTS, CPU)
    outcome = train_seed(model, data, masks if density else None, given, Streams(3), CPU, parts=parts)
    test = data["test"]
    return model, outcome.record, test.take(torch.arange(len(test)))


@pytest.mark.parametrize("scope", ["global", "even"])
@pytest.mark.parametrize("density", [0.1, 0.3])
def test_it_is_what_end_pruning_leaves_of_the_same_training(density: float, scope: Any) -> None:
    (dense, _, (x, y)), (model, record, _) = trained(None), trained(density, scope)
    found = pruned(dense, subject(x, y), density=density, scope=scope)
    size = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert (
        found["kept"] == budget(density, size) == sum(int(p.count_nonzero()) for p in model.parameters() if p.dim() > 1)
    )
    assert found["accuracy"] == pytest.approx(record["test_accuracy_last"], abs=1e-9)


def test_a_sweep_of_densities_reads_one_training_that_of_the_plain_dense_cell() -> None:
    raw = {"data": "digits", "model": "mlp", "mask": "dense", "init": "default", "train": {"epochs": 2}}
    sweep = [
        resolve_cell(raw | {"measure": {"name": "pruned", "at": "end", "density": d, "scope": scope}}, "here").nodes
        for d in (0.01, 0.1, 0.5)
        for scope in ("global", "even")
    ]
    assert len({nodes["measure"].id for nodes in sweep}) == 6
    assert {nodes["train"].id for nodes in sweep} == {resolve_cell(raw, "here").nodes["train"].id}
    assert all(nodes["measure"].inputs["train"] == nodes["train"].id for nodes in sweep)
    with pytest.raises(UserError, match=r"measure\.density: out of range"):
        resolve_cell(raw | {"measure": {"name": "pruned", "at": "end", "density": 1.5}}, "here")
