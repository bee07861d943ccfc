"""What somebody with a network and a loop of their own relies on, whatever the method: exact counts, exact zeros.

Counts are checked against floor(density x N + 1/2) of the weights of the networks below, written out by hand.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

import sparse_ortho as so

STEPS = 30
DENSITY = 0.3
Batch = tuple[torch.Tensor, torch.Tensor]


def mlp() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 4)]
    return nn.Sequential(nn.Flatten(), *layers)


class Block(nn.Module):
    """Named as residual blocks are, which is how ghost skips find them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))) + x)


def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), Block(), nn.Flatten(), nn.Linear(8 * 16, 4))


NETS = {"mlp": mlp, "conv": conv}
SIZES = {"mlp": 16 * 24 + 24 * 24 + 24 * 4, "conv": 8 * 9 + 2 * (8 * 8 * 9) + 8 * 16 * 4}
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
}


def kept(density: float, size: int) -> int:
    return math.floor(density * size + 0.5)


def batches(number: int, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(16, 1, 4, 4, generator=generator) for _ in range(number)]
    return [(x, (x.flatten(1)[:, :4]).argmax(1)) for x in images]


def zero_where_masked(model: nn.Module, masks: so.Masks) -> bool:
    return all(not model.get_parameter(name)[~mask].any() for name, mask in masks.items())


# --- SparseTraining

THINNING = ("ac_dc", "end_pruning", "gmp", "granet", "top_kast")  # down to final_density
LOOSE = ("set@as_released", "sparse_momentum@as_released")  # released programs that miss their budgets
OWN = ("edge_popup", "n_m", "soft_threshold", "tied")  # without a number of weights that is told
EXACT = [name for name in so.available()["rules"] if name not in (*LOOSE, *OWN)]


def trained(net: str, optimizer: str, rule: str, density: float = DENSITY, **told: Any) -> tuple[nn.Module, Any]:
    model = NETS[net]()
    masks = so.make_masks(model, density, seed=0)
    sparse = so.SparseTraining(
        model, steps := OPTIMIZERS[optimizer](model.parameters()), masks, rule, every=5, stop=25, steps=STEPS,
        steps_per_epoch=10, **told,
    )  # fmt: skip
    for x, y in batches(STEPS):
        steps.zero_grad()
        cross_entropy(model(x), y).backward()
        sparse.step()
        assert zero_where_masked(model, sparse.masks)  # after every single step
    return model, sparse


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", EXACT)
def test_every_rule_ends_at_the_density_that_it_was_told(rule: str, net: str, optimizer: str) -> None:
    told = {"final_density": 0.1} if rule in THINNING else {}
    model, sparse = trained(net, optimizer, rule, **told)
    assert sparse.masks.nonzeros == kept(told.get("final_density", DENSITY), SIZES[net])
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    active = sum(int((model.get_parameter(name) != 0).sum()) for name in sparse.masks)
    assert active <= sparse.masks.nonzeros


@pytest.mark.parametrize("rule", [*LOOSE, "soft_threshold"])
def test_rules_without_a_budget_keep_masked_weights_at_zero_too(rule: str) -> None:
    _, sparse = trained("conv", "sgd", rule)
    assert 0 < sparse.masks.nonzeros <= SIZES["conv"]


def test_n_of_m_ends_with_n_of_every_m_inputs() -> None:
    model, sparse = trained("mlp", "adam", "n_m", density=1.0, n=2, m=4)
    for mask in sparse.masks.values():
        assert (mask.reshape(len(mask), -1, 4).sum(2) == 2).all()
    assert sparse.masks.nonzeros == SIZES["mlp"] // 2 and zero_where_masked(model, sparse.masks)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_edge_popup_keeps_the_floor_of_its_share_of_every_layer(optimizer: str) -> None:
    _, sparse = trained("mlp", optimizer, "edge_popup", final_density=0.1)
    assert [int(mask.sum()) for mask in sparse.masks.values()] == [38, 57, 9]  # of 384, 576 and 96


@pytest.mark.parametrize("rule", ["rigl", "sparse_momentum", "granet", "set"])
def test_a_training_goes_on_from_what_it_saved_as_if_never_stopped(rule: str) -> None:
    def begun() -> tuple[nn.Module, Any, Any]:
        model = mlp()
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        masks = so.make_masks(model, DENSITY, seed=0)
        return model, optimizer, so.SparseTraining(
            model, optimizer, masks, rule, every=5, stop=25, steps=STEPS, steps_per_epoch=10
        )  # fmt: skip

    def go(model: nn.Module, optimizer: Any, sparse: Any, data: list[Batch]) -> None:
        for x, y in data:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            sparse.step()

    data = batches(STEPS)
    whole, half, again = begun(), begun(), begun()
    go(*whole, data)
    go(*half, data[:13])
    for old, new in zip(half, again, strict=True):
        new.load_state_dict(old.state_dict())
    go(*again, data[13:])
    assert again[2].masks.digest() == whole[2].masks.digest()
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), again[0].parameters(), strict=True))


# --- masks


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("score", so.available()["scores"])
def test_every_score_keeps_the_number_told_with_every_repair(score: str, net: str) -> None:
    data = batches(4)
    for repair in (None, "units", "flow"):
        masks = so.make_masks(NETS[net](), DENSITY, score=score, layers="global", repair=repair, seed=0, data=data)
        assert masks.nonzeros == kept(DENSITY, SIZES[net])


def test_structures_keep_whole_units() -> None:
    model = conv()
    kernels = so.make_masks(model, DENSITY, score="magnitude", structure="kernel", seed=0)
    for name in ("2.conv1.weight", "2.conv2.weight"):
        assert set(kernels[name].flatten(2).sum(2).unique().tolist()) <= {0, 9}
    fans = so.make_masks(model, DENSITY, score="magnitude", structure="fan_in", seed=0)
    assert all(len(mask.flatten(1).sum(1).unique()) == 1 for mask in fans.values())
    pairs = so.make_masks(mlp(), 0.5, score="magnitude", structure="n_m", seed=0)
    assert all((mask.reshape(len(mask), -1, 4).sum(2) == 2).all() for mask in pairs.values())
    for found in (kernels, fans):  # an upper bound, met to less than a unit: here 9 weights, or a weight an output
        assert kept(DENSITY, SIZES["conv"]) - 16 < found.nonzeros <= kept(DENSITY, SIZES["conv"])


def test_masks_are_read_back_as_they_were_saved(tmp_path: Any) -> None:
    model = conv()
    masks = so.make_masks(model, DENSITY, seed=3)
    masks.save(tmp_path / "mine.safetensors")
    assert so.Masks.load(tmp_path / "mine.safetensors", model).digest() == masks.digest()


# --- initialisation


@pytest.mark.parametrize("name", ["gradinit", "metainit", "ortho_repair"])
def test_initialisations_stay_within_their_masks(name: str) -> None:
    model = conv()
    masks = so.make_masks(model, DENSITY, seed=0)
    few = {"gradinit": {"iters": 3}, "metainit": {"steps": 3}}.get(name, {})
    after = so.initialize_(model, masks, name, seed=0, data=batches(4), loss=cross_entropy, **few)
    assert after.digest() == masks.digest() and zero_where_masked(model, after)
    assert all(model.get_parameter(layer)[mask].any() for layer, mask in after.items())


def test_repaired_rows_of_a_dense_layer_are_orthogonal() -> None:
    """Of a dense square layer W W^T is a multiple of the identity, in float64 up to the rounding of float32."""
    model = nn.Sequential(nn.Linear(24, 24))
    so.initialize_(model, so.make_masks(model, 1.0, seed=0), "ortho_repair", seed=0)
    weight = model.get_parameter("0.weight").detach().double()
    gram = weight @ weight.T
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-5 * gram.diagonal().max()


# --- tricks


def test_tricks_end_in_the_network_that_was_there_before() -> None:
    model, twin = conv(), conv()
    names, x = list(model.state_dict()), batches(1)[0][0]
    softened, ghosts = so.soften_(model, "swish", fraction=0.5), so.ghost_skips_(model, "conv1x1", fraction=0.5)
    before = model.eval()(x)
    assert not torch.allclose(before, twin.eval()(x))
    for progress in (0.25, 0.5, 1.0):
        softened.step(progress)
        ghosts.step(progress)
    assert torch.equal(model(x), twin(x)) and list(model.state_dict()) == names


def test_a_softened_network_trains_sparsely_and_is_relu_again() -> None:
    model = mlp()
    softened = so.soften_(model, "swish", fraction=0.5)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    sparse = so.SparseTraining(model, optimizer, so.make_masks(model, DENSITY, seed=0), "set", every=5, stop=25)
    for number, (x, y) in enumerate(batches(STEPS), start=1):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        sparse.step()
        softened.step(number / STEPS)
    assert sparse.masks.nonzeros == kept(DENSITY, SIZES["mlp"]) and zero_where_masked(model, sparse.masks)
    (x, _), (first, second, last) = batches(1)[0], [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert torch.allclose(model(x), last(relu(second(relu(first(x.flatten(1)))))), atol=1e-6)
