"""The Hessian of surviving weights against torch.autograd's dense one, in float64; what its measurement reports."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable
from sparse_ortho.measure.curvature import Curvature
from sparse_ortho.measure.hessian import hessian
from sparse_ortho.measure.subject import Batch, Subject
from sparse_ortho.streams import Streams


def network() -> nn.Module:
    """Convolution, normalisation with statistics of its own, dropout, two linear layers; 77 maskable weights."""
    torch.manual_seed(0)
    convolution = [nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5)]
    model = nn.Sequential(*convolution, nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    model(torch.randn(50, 1, 3, 3, dtype=torch.float64))
    return model


def masks_of(model: nn.Module) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    masks = {name: torch.rand(w.shape, generator=random) < 0.6 for name, w in maskable(model).items()}
    with torch.no_grad():
        for name, weight in maskable(model).items():
            weight.mul_(masks[name])
    return masks


def batches() -> list[Batch]:
    random = torch.Generator().manual_seed(2)
    x = torch.randn(30, 1, 3, 3, generator=random, dtype=torch.float64)
    y = torch.randint(0, 3, (30,), generator=random)
    return list(zip(x.split(13), y.split(13), strict=True))  # of unequal size: the mean is over images


def dense(model: nn.Module, masks: dict[str, torch.Tensor]) -> torch.Tensor:
    """torch's own Hessian of the mean loss, rows and columns of the surviving weights."""
    weights = maskable(model)
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    model.eval()

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([w.numel() for w in weights.values()])
        named = {name: piece.view_as(w) for (name, w), piece in zip(weights.items(), pieces, strict=True)}
        return cross_entropy(functional_call(model, named, (x,)), y)

    whole = torch.autograd.functional.hessian(loss, torch.cat([w.detach().reshape(-1) for w in weights.values()]))
    model.train()
    assert isinstance(whole, torch.Tensor)
    kept = torch.cat([masks[name].reshape(-1) for name in weights])
    return whole[kept][:, kept]


def subject(masks: dict[str, torch.Tensor]) -> Subject:
    return Subject(lambda part, count, size: batches(), cross_entropy, Streams(3), masks)


def test_a_product_is_that_with_the_dense_hessian_of_the_survivors() -> None:
    model = network()
    masks = masks_of(model)
    curvature = Curvature(model, masks, batches(), cross_entropy)
    matrix = dense(model, masks)
    assert curvature.size == len(matrix) == sum(int(mask.sum()) for mask in masks.values())
    found = torch.stack([curvature(row) for row in torch.eye(len(matrix), dtype=torch.float64)])
    torch.testing.assert_close(found, matrix)
    assert curvature.products == len(matrix)


def test_a_vector_is_zero_off_the_mask_and_comes_back_whole() -> None:
    model = network()
    masks = masks_of(model)
    curvature = Curvature(model, masks, batches(), cross_entropy)
    vector = curvature.drawn(np.random.default_rng(0))
    parts = curvature.scattered(vector)
    assert all(int(part[~mask].count_nonzero()) == 0 for part, mask in zip(parts, masks.values(), strict=True))
    assert torch.equal(curvature.gathered(parts), vector)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = network()
    masks = masks_of(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    hessian(model, subject(masks), probes=1, depth=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_measurement_has_the_eigenvalues_of_the_dense_hessian() -> None:
    model = network()
    masks = masks_of(model)
    exact = np.linalg.eigvalsh(dense(model, masks).numpy())
    found = hessian(model, subject(masks), top=4, tolerance=1e-9, probes=0)
    np.testing.assert_allclose([found[f"top/{i}"] for i in range(1, 5)], exact[::-1][:4], rtol=1e-7)
    assert found["largest"] == found["top/1"] and found["smallest"] == pytest.approx(exact[0], rel=1e-7)
    assert found["weights"] == len(exact)
    assert "trace" not in found and "node/0/0" not in found


def test_trace_and_density_are_those_of_the_dense_hessian() -> None:
    model = network()
    masks = masks_of(model)
    matrix = dense(model, masks).numpy()
    found = hessian(model, subject(masks), probes=60, depth=8, tolerance=1e-1)
    assert abs(found["trace"] - np.trace(matrix)) < 4 * found["trace_error"]
    # Hutchinson's variance for signs is 2 sum of squares off the diagonal.
    variance = 2 * (np.square(matrix).sum() - np.square(np.diag(matrix)).sum())
    assert found["trace_error"] == pytest.approx(math.sqrt(variance / 60), rel=0.4)
    moments = [
        sum(found[f"weight/{p}/{j}"] * found[f"node/{p}/{j}"] ** 2 for j in range(8) if f"node/{p}/{j}" in found)
        for p in range(60)
    ]
    spread = np.std(moments, ddof=1) / math.sqrt(60)
    assert abs(np.mean(moments) - np.trace(matrix @ matrix) / len(matrix)) < 4 * spread
    assert found["products"] == found["products_top"] + 60 * 8


def test_the_gradient_is_that_of_autograd_on_the_survivors() -> None:
    model = network()
    masks = masks_of(model)
    model.eval()
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    cross_entropy(model(x), y).backward()
    exact = torch.cat([w.grad[masks[name]] for name, w in maskable(model).items() if w.grad is not None])
    found = hessian(model, subject(masks), probes=0)["gradient_norm"]
    assert found == pytest.approx(float(exact.norm()))


@pytest.mark.parametrize("wrong", [{"top": 0}, {"images": 0}, {"probes": -1}, {"depth": 0}, {"steps": 4}])
def test_what_cannot_be_measured_is_refused(wrong: dict[str, int]) -> None:
    model = network()
    with pytest.raises(UserError, match=f"measure.{next(iter(wrong))}"):
        hessian(model, subject({}), **wrong)  # type: ignore[arg-type]
