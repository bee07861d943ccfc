"""Edge-popup: exactly k ones inside the frame, straight-through gradients, networks whose weights are not trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.learned.annealing import level_of, levels
from sparse_ortho.learned.edge_popup import edge_popup
from sparse_ortho.learned.popup import Popup
from sparse_ortho.masks import Masks
from sparse_ortho.schedules import share
from sparse_ortho.streams import Streams


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    first = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*first, nn.Linear(54, 8), nn.ReLU(), nn.Linear(8, 3))


WEIGHTS = {"0.weight": 54, "4.weight": 432, "6.weight": 24}


def started(model: nn.Module, density: float = 0.5, steps: int | None = None, **options: Any) -> Popup:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-3)
    masks = so.make_masks(model, density, layers="uniform", seed=3)
    return edge_popup(**options).begin(model, optimizer, masks, Streams(5), total_steps=steps)


def batches(steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 1, 3, 3, generator=generator)
        yield x, (x.sum((1, 2, 3)) > 0).long()


def step(model: nn.Module, live: Popup, x: torch.Tensor, y: torch.Tensor) -> None:
    live.optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    live.before_step()
    live.optimizer.step()
    live.after_step()


def train(model: nn.Module, live: Popup, steps: int = 6) -> None:
    for x, y in batches(steps):
        step(model, live, x, y)


# --- the mask


def one_layer(scores: list[float], frame: list[int], **options: Any) -> list[int]:
    """The mask that edge-popup makes of eight scores in a layer of eight weights."""
    model = nn.Linear(4, 2, bias=False)
    masks = Masks({"weight": torch.tensor(frame, dtype=torch.bool).view(2, 4)})
    live = edge_popup(**options).begin(model, torch.optim.SGD(model.parameters(), lr=0.1), masks, Streams(0))
    with torch.no_grad():
        live.latent["weight"].copy_(torch.tensor(scores).view(2, 4))
        live.show()
    kept = live.masks["weight"].flatten().int().tolist()
    assert torch.equal(model.weight != 0, live.masks["weight"])
    return kept


SCORES = [0.5, -3.0, 0.25, 2.0, -1.0, 0.125, 4.0, 0.75]
ALL = [1] * 8


@pytest.mark.parametrize(
    ("frame", "options", "expected"),
    [
        (ALL, {"final_density": 0.5}, [0, 1, 0, 1, 1, 0, 1, 0]),
        (ALL, {"final_density": 0.5, "rank": "signed"}, [1, 0, 0, 1, 0, 0, 1, 1]),
        ([1, 0, 1, 1, 1, 0, 0, 1], {"final_density": 0.5}, [1, 0, 0, 1, 1, 0, 0, 1]),
        ([1, 0, 1, 1, 1, 0, 0, 1], {"final_density": 0.45}, [0, 0, 0, 1, 1, 0, 0, 1]),  # floor(3.6) = 3
        ([1, 0, 1, 0, 0, 0, 0, 1], {"final_density": 0.5}, [1, 0, 1, 0, 0, 0, 0, 1]),  # 4 wanted, 3 in the frame
        (ALL, {"final_density": 0.1}, [0] * 8),  # floor(0.8) = 0
    ],
)
def test_the_k_largest_scores_of_the_frame_are_chosen(frame: list[int], options: Any, expected: list[int]) -> None:
    assert one_layer(SCORES, frame, **options) == expected


@pytest.mark.parametrize(("scope", "who"), [("layer", "weight"), ("global", "the network")])
def test_a_mask_with_less_than_k_weights_keeps_all_of_them_and_says_so(
    scope: Any, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = [1, 0, 1, 0, 0, 0, 0, 1]
    assert one_layer(SCORES, frame, final_density=0.5, scope=scope) == frame
    assert [record.getMessage() for record in caplog.records] == [
        f"edge_popup: {who} keeps all 3 weights of its mask, not 4"
    ]
    caplog.clear()
    one_layer(SCORES, frame, final_density=0.375, scope=scope)
    assert not caplog.records


def test_of_equal_scores_the_first_are_chosen() -> None:
    assert one_layer([0.5] * 8, [0, 1, 1, 0, 1, 1, 1, 1], final_density=0.4) == [0, 1, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("rank", ["abs", "signed"])
@pytest.mark.parametrize("final", [0.05, 0.3, 0.5])
def test_every_step_has_exactly_k_ones_inside_of_the_frame(final: float, rank: Any, scope: Any) -> None:
    model = net()
    live = started(model, final_density=final, rank=rank, scope=scope)
    frame = {name: mask.clone() for name, mask in live.frame.items()}
    moved: set[str] = set()
    for x, y in batches(6):
        step(model, live, x, y)
        counts = {name: int(mask.sum()) for name, mask in live.masks.items()}
        if scope == "layer":
            assert counts == {n: min(share(final, size), int(frame[n].sum())) for n, size in WEIGHTS.items()}
        else:
            assert sum(counts.values()) == share(final, 510)
        for name, mask in live.masks.items():
            assert not (mask & ~frame[name]).any()
            weight = model.get_parameter(name)
            assert torch.equal(weight, torch.where(mask, live.random[name], torch.zeros(())))
        moved.add(live.masks.digest())
    if final == 0.3:  # at 0.05 some layer is empty and nothing is learned, at 0.5 nearly all of the frame is taken
        assert len(moved) > 1


def test_scored_biases_count_and_compete_with_the_weights_of_their_layer() -> None:
    model = net()
    live = started(model, final_density=0.3, score_biases=True, biases="normal", bias_scale=1.0)
    train(model, live)
    for layer, size in WEIGHTS.items():
        bias = model.get_parameter(layer.replace("weight", "bias"))
        kept = int(live.masks[layer].sum()) + int((bias != 0).sum())
        assert kept == share(0.3, size + len(bias))


# --- gradients


@pytest.mark.parametrize("outside", ["zero", "identity"])
@pytest.mark.parametrize("rank", ["abs", "signed"])
def test_gradients_are_those_of_the_formula_and_go_straight_through(rank: Any, outside: Any) -> None:
    """Oracle: autograd in float64 through W~ = W * (h + S' - S'.detach()), S' = |S| or S."""
    model = net().double()
    live = started(model, final_density=0.2, rank=rank, outside=outside)
    ((x, y),) = batches(1)
    scores = {n: s.detach().clone().requires_grad_() for n, s in live.latent.items()}
    passed = {n: (s.abs() if rank == "abs" else s) for n, s in scores.items()}
    weights = {n: live.random[n] * (live.masks[n].double() + s - s.detach()) for n, s in passed.items()}
    cross_entropy(torch.func.functional_call(model, weights, (x.double(),)), y).backward()
    state = {name: p.detach().clone() for name, p in model.named_parameters()}
    cross_entropy(model(x.double()), y).backward()
    live.before_step()
    for name, score in live.latent.items():
        grad = scores[name].grad
        assert grad is not None and score.grad is not None
        inside = live.frame[name]
        torch.testing.assert_close(score.grad[inside], grad[inside], rtol=1e-10, atol=1e-14)
        if outside == "zero":
            assert not score.grad[~inside].any()
        assert score.grad[inside & ~live.masks[name]].any()  # those not chosen are pulled too
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_an_identity_outside_of_the_frame_moves_no_mask() -> None:
    masks = []
    for outside in ("zero", "identity"):
        model = net()
        live = started(model, final_density=0.2, outside=outside)
        train(model, live)
        masks.append(live.masks.digest())
    assert masks[0] == masks[1]


def test_no_weight_bias_or_normalisation_is_trained() -> None:
    model = net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    live = started(model, final_density=0.3)
    train(model, live)
    for name, parameter in model.named_parameters():
        chosen = live.masks.get(name, torch.ones_like(parameter, dtype=torch.bool))
        assert torch.equal(parameter, torch.where(chosen, before[name], torch.zeros(())))
    assert not torch.equal(model[1].running_mean, torch.zeros(6))  # pyright: ignore[reportIndexIssue]


def test_edge_popup_learns_with_random_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 2))
    initialize(model, None, "binary", Streams(0))
    live = started(model, final_density=0.3)
    train(model, live, 100)
    x = torch.randn(1000, 1, 3, 3, generator=torch.Generator().manual_seed(9))
    assert (model(x).argmax(1) == (x.sum((1, 2, 3)) > 0)).float().mean() > 0.85


# --- levels


@pytest.mark.parametrize(
    ("final", "frame", "path"),
    [
        (0.2, 0.5, [0.482, 0.387, 0.310, 0.249, 0.200]),
        (0.1, 0.3, [0.300, 0.210, 0.147, 0.102, 0.100]),
        (0.05, 0.2, [0.200, 0.122, 0.074, 0.050, 0.050]),
        (0.01, 0.5, [0.265, 0.117, 0.051, 0.023, 0.010]),
    ],
)
def test_annealing_has_the_densities_of_the_released_program(final: float, frame: float, path: list[float]) -> None:
    assert levels(final, 0.6, 5, frame) == pytest.approx(path, abs=5e-4)
    assert levels(final, 0.6, 5, frame)[-1] == final


def test_levels_are_equal_parts_of_the_training() -> None:
    assert [level_of(t, 10, 5) for t in range(11)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]


def test_a_training_with_levels_comes_down_to_its_target_and_keeps_its_scores() -> None:
    model = net()
    live = started(model, density=0.7, steps=8, final_density=0.1, levels=4, start_density=0.6)
    counts = [live.masks.nonzeros]
    for x, y in batches(8):
        step(model, live, x, y)
        counts.append(live.masks.nonzeros)
    path = [0.6 * (1 / 6) ** (i / 4) for i in (1, 2, 3)] + [0.1]
    wanted = [sum(math.floor(density * size) for size in WEIGHTS.values()) for density in path]
    assert counts == [wanted[min(3, t * 4 // 8)] for t in range(9)]


# --- starts


def test_a_scaled_fan_divides_weights_by_the_root_of_the_target() -> None:
    plain, scaled = started(net(), final_density=0.25), started(net(), final_density=0.25, scale_fan=True)
    for name in WEIGHTS:
        assert torch.equal(scaled.random[name], 2 * plain.random[name])


def test_scores_are_drawn_as_kaiming_or_are_constant() -> None:
    live = started(net(), final_density=0.3)
    for name, fan_in in {"0.weight": 9, "4.weight": 54, "6.weight": 8}.items():
        assert live.latent[name].abs().max() <= 1 / math.sqrt(fan_in)
        assert live.latent[name].abs().max() > 0.8 / math.sqrt(fan_in)
    assert (started(net(), final_density=0.3, scores="constant").latent["4.weight"] == 0.5).all()
    released = started(net(), final_density=0.3, scores="as_released").latent
    assert (released["0.weight"] == 0.5).all() and torch.equal(released["4.weight"], live.latent["4.weight"])


def mlp() -> nn.Module:
    torch.manual_seed(0)
    sizes = (9, 16, 12, 16, 3)
    layers = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def test_cancelling_biases_leave_the_looks_linear_network_as_it_is() -> None:
    x, _ = next(batches(1))
    model = mlp()
    initialize(model, None, "looks_linear", Streams(0))
    expected = model(x)
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if p.ndim == 2}
    rule = edge_popup(final_density=1.0, biases="cancelling", bias_scale=3.0)
    rule.begin(model, torch.optim.SGD(model.parameters(), lr=0.1), masks, Streams(1))
    biases = [p for p in model.parameters() if p.ndim == 1]
    assert all(b.any() for b in biases)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_biases_are_drawn_with_the_spreads_of_the_paper() -> None:
    def drawn(kind: Any, **more: Any) -> list[torch.Tensor]:
        model = nn.Sequential(nn.Linear(50, 4000), nn.ReLU(), nn.Linear(4000, 2000))
        started(model, final_density=0.5, biases=kind, **more)
        return [p.detach() for p in model.parameters() if p.ndim == 1]

    sigma = [math.sqrt(2 / 50), math.sqrt(2 / 4000)]
    normal = drawn("normal", bias_scale=0.1)
    assert [float(b.std()) for b in normal] == pytest.approx([0.1 * sigma[0], 0.1 * sigma[0] * sigma[1]], rel=0.06)
    signed = drawn("signed")
    assert [float(b.abs().min()) for b in signed] == pytest.approx(sigma, rel=1e-6)
    assert all(0.4 < float((b > 0).float().mean()) < 0.6 for b in signed)
    mirrored = drawn("mirrored")
    assert torch.equal(mirrored[0][:2000], -mirrored[0][2000:]) and mirrored[0].any() and not mirrored[1].any()
    scaled = drawn("signed", scale_fan=True)
    assert float(scaled[0][0].abs()) == pytest.approx(sigma[0] / math.sqrt(0.5), rel=1e-6)


def test_a_layer_without_biases_has_none_to_draw() -> None:
    with pytest.raises(UserError, match="the layer of weight has none"):
        started(nn.Linear(4, 2, bias=False), final_density=0.5, biases="normal")


# --- ablations


@pytest.mark.parametrize("shuffle", ["no", "masks", "weights"])
def test_shuffling_deals_out_bits_or_weights_within_the_frame(shuffle: Any) -> None:
    model = net()
    live = started(model, final_density=0.2, shuffle=shuffle)
    train(model, live)
    before = {name: (live.masks[name].clone(), model.get_parameter(name).detach().clone()) for name in WEIGHTS}
    live.finish()
    for name, (mask, weight) in before.items():
        now, values = live.masks[name], model.get_parameter(name).detach()
        assert now.sum() == mask.sum() and not (now & ~live.frame[name]).any()
        assert torch.equal(now, mask) == (shuffle == "no")
        same = np.array_equal(np.sort(values[values != 0].numpy()), np.sort(weight[weight != 0].numpy()))
        assert same == (shuffle != "masks")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"final_density": 0.0}, "rule.edge_popup.final_density: out of range"),
        ({"levels": 0}, "rule.edge_popup.levels: must be at least 1"),
        ({"levels": 3}, "rule.edge_popup.levels: needs the number of steps"),
        ({"levels": 3, "start_density": 0.1}, "start_density: is below final_density"),
        ({"biases": "mirrored"}, "mirrors the outputs of 0.weight|mirrors the outputs of weight"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        started(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), **options)
