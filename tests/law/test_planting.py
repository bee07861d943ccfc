"""Planted targets: the ticket in the source computes the target, its frame keeps its size, edge-popup may choose it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.learned.edge_popup import edge_popup
from sparse_ortho.learned.planting import Planted, plant
from sparse_ortho.streams import Streams


def chain(*sizes: int) -> nn.Sequential:
    layers = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b, bias=False), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def target() -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    shapes = ((6, 8), (5, 6), (3, 5))
    return [torch.randn(*shape, generator=rng) * (torch.rand(*shape, generator=rng) < 0.4) for shape in shapes]


def planted(density: float = 0.5) -> tuple[nn.Sequential, so.Masks, Planted]:
    torch.manual_seed(0)
    source = chain(8, 40, 30, 3)
    frame = so.make_masks(source, density, layers="uniform", seed=0)
    return source, frame, plant({n: source.get_parameter(n) for n in frame}, frame, target(), Streams(0))


def put(model: nn.Sequential, weights: dict[str, torch.Tensor]) -> nn.Sequential:
    with torch.no_grad():
        for name, weight in weights.items():
            model.get_parameter(name).copy_(weight)
    return model


def test_the_ticket_computes_the_target() -> None:
    source, _, found = planted()
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    wanted = put(chain(8, 6, 5, 3), {f"{2 * i}.weight": w for i, w in enumerate(target())})
    ticket = put(source, {name: weight * found.ticket[name] for name, weight in found.weights.items()})
    assert wanted(x).abs().max() > 0.1
    torch.testing.assert_close(ticket(x), wanted(x), rtol=1e-4, atol=1e-5)


def test_the_frame_keeps_its_size_and_holds_the_ticket() -> None:
    _, frame, found = planted()
    for name, ticket in found.ticket.items():
        assert found.frame[name].sum() == frame[name].sum()
        assert not (ticket & ~found.frame[name]).any()
        assert len(found.units[name].unique()) == len(found.units[name])
    sizes = [int((w != 0).sum()) for w in target()]
    assert [int(ticket.sum()) for ticket in found.ticket.values()] == sizes


def test_what_is_not_planted_stays_as_it_was() -> None:
    source, _, found = planted()
    for name, ticket in found.ticket.items():
        assert torch.equal(found.weights[name][~ticket], source.get_parameter(name)[~ticket])


def test_a_target_that_is_in_the_source_up_to_scale_is_found_where_it_is() -> None:
    torch.manual_seed(0)
    source = chain(8, 12, 3)
    weights = {name: p.detach() for name, p in source.named_parameters()}
    first = torch.stack([2.0 * weights["0.weight"][7], 0.5 * weights["0.weight"][2]])
    every = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    found = plant(weights, every, [first, torch.randn(3, 2)], Streams(0))
    assert found.units["0.weight"].tolist() == [7, 2]
    torch.testing.assert_close(found.weights["0.weight"], weights["0.weight"])


def test_edge_popup_that_ranks_the_ticket_first_is_the_target() -> None:
    source, _, found = planted()
    model = put(source, found.weights)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    live = edge_popup(final_density=0.4).begin(model, optimizer, found.frame, Streams(0))
    with torch.no_grad():
        for name, scores in live.latent.items():
            scores.copy_(found.ticket[name].float() + 0.1)
        live.show()
    for name, ticket in found.ticket.items():
        assert 0 < ticket.sum() <= live.masks[name].sum() < found.frame[name].sum()
        assert not (ticket & ~live.masks[name]).any()


def test_mistakes_are_one_sentence() -> None:
    weights = {name: p.detach() for name, p in chain(8, 4, 3).named_parameters()}
    every = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    with pytest.raises(UserError, match="has another depth than the source, 2"):
        plant(weights, every, target(), Streams(0))
    with pytest.raises(UserError, match="0.weight: must be at least as wide as the target"):
        plant(weights, every, [torch.ones(6, 8), torch.ones(3, 6)], Streams(0))
    few = {name: torch.zeros_like(mask) for name, mask in every.items()}
    with pytest.raises(UserError, match="its mask has too few links"):
        plant(weights, few, [torch.ones(2, 8), torch.ones(3, 2)], Streams(0))
