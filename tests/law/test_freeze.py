"""What a loop of one's own takes away: plain weights and masks that are the running network, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import sparse_ortho as so
from sparse_ortho.learned.planting import plant
from sparse_ortho.streams import Streams
from tests.law.test_planting import chain, target
from tests.law.test_training import half_masks, network

RULES: dict[str, dict[str, Any]] = {
    "edge_popup": {"final_density": 0.2},
    "soft_threshold": {"s_init": -5.0, "s_decay": 0.1},
    "rigl": {"every": 2, "stop": 8},
    "tied": {},
}


def trained(rule: str, steps: int) -> tuple[torch.nn.Module, so.SparseTraining]:
    torch.manual_seed(0)
    model = network(width=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    sparse = so.SparseTraining(model, optimizer, half_masks(model), rule, **RULES[rule])
    train(model, sparse, steps)
    return model, sparse


def train(model: torch.nn.Module, sparse: so.SparseTraining, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        x = torch.rand(8, 1, 2, 3, generator=generator)
        sparse.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 0.5).long()).backward()
        sparse.step()


@pytest.mark.parametrize("rule", RULES)
def test_a_plain_network_with_frozen_weights_computes_the_same(rule: str) -> None:
    model, sparse = trained(rule, 6)
    weights, masks = sparse.freeze()
    plain = network(width=8)
    plain.load_state_dict({**model.state_dict(), **weights})
    x = torch.rand(20, 1, 2, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(plain.eval()(x), model.eval()(x))
    assert weights.keys() == set(masks) == set(half_masks(model))
    if rule != "tied":  # there all weights compute
        assert all(not weight[~masks[name]].any() for name, weight in weights.items())


@pytest.mark.parametrize("rule", RULES)
def test_what_is_frozen_stays_when_training_goes_on(rule: str) -> None:
    model, sparse = trained(rule, 4)
    weights, masks = sparse.freeze()
    kept, digest = {name: weight.clone() for name, weight in weights.items()}, masks.digest()
    train(model, sparse, 40)
    assert all(torch.equal(weights[name], weight) for name, weight in kept.items()) and masks.digest() == digest
    assert any(not torch.equal(model.get_parameter(name), weight) for name, weight in kept.items())


def test_the_example_of_the_docs_plants_a_target_and_searches_for_it() -> None:
    torch.manual_seed(0)
    model = chain(8, 40, 30, 3)
    masks = so.make_masks(model, 0.5, layers="uniform", seed=0)
    source = {name: model.get_parameter(name) for name in masks}
    found = plant(source, masks, target(), Streams(0))
    model.load_state_dict(found.weights, strict=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = so.SparseTraining(model, optimizer, found.frame, "edge_popup", final_density=0.2)
    assert sum(int(mask.sum()) for mask in found.frame.values()) == masks.nonzeros
    for name, mask in sparse.masks.items():
        assert not (mask & ~found.frame[name]).any()
        assert torch.equal(model.get_parameter(name), torch.where(mask, found.weights[name], torch.zeros(())))
