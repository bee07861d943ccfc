"""Orthogonal rows within a mask: exact where the supports allow it, each row optimal where they do not."""

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho.inits.ortho_repair import ortho_repair, ortho_repair_as_released
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.streams import Streams


def probe_of(model):
    return Probe(model, {n: w.detach() for n, w in maskable(model).items()})


def made(shape, mask, groups=1, **options):
    layer = (
        nn.Linear(shape[1], shape[0])
        if len(shape) == 2
        else nn.Conv2d(shape[1] * groups, shape[0], shape[2], groups=groups)
    )
    weights, kept = ortho_repair(probe_of(layer), {"weight": mask}, Streams(0), **options)
    assert torch.equal(kept["weight"], mask) and not weights["weight"][~mask].any()
    return weights["weight"].double().flatten(1).numpy()


@pytest.mark.parametrize("shape", [(10, 60), (60, 10), (8, 4, 3, 3)])
@pytest.mark.parametrize("density", [0.4, 1.0])
def test_rows_are_orthonormal_where_there_is_room(shape, density):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density
    C = made(shape, mask, gain=1.5)
    C = C if C.shape[0] <= C.shape[1] else C.T
    np.testing.assert_allclose(C @ C.T, 2.25 * np.eye(len(C)), atol=2e-6)


def test_a_hand_made_mask_has_the_one_solution_it_allows():
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    C = made((3, 3), mask)
    assert abs(abs(C[2, 2]) - 1) < 1e-6 and abs(C[0] @ C[1]) < 1e-6 and abs(np.linalg.norm(C[1]) - 1) < 1e-6


def test_the_last_row_of_a_full_support_is_the_least_correlated_unit_vector():
    """Rows 1 and 2 on the same single entry cannot be orthogonal; row 3, on two entries, avoids both."""
    mask = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0]]).bool()
    C = np.abs(made((3, 3), mask))
    np.testing.assert_allclose(C, [[1, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-6)


def test_empty_rows_stay_zero_and_groups_are_blocks():
    mask = torch.ones(6, 2, 3, 3, dtype=torch.bool)
    mask[4] = False
    C = made((6, 2, 3, 3), mask, groups=2)
    assert not C[4].any()
    for block in (C[:3], C[[3, 5]]):
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-6)


def test_it_comes_closer_than_masking_an_orthogonal_matrix():
    mask = torch.rand(60, 60, generator=torch.Generator().manual_seed(0)) < 0.3
    C = made((60, 60), mask)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 60)))[0] * mask.numpy() / np.sqrt(0.3)
    assert np.linalg.norm(C @ C.T - np.eye(60)) < np.linalg.norm(Q @ Q.T - np.eye(60)) / 2


def test_the_released_descent_adds_up_its_gradients():
    """Three steps on a masked 3 x 4 matrix, with the gradient of the loss by autograd."""
    torch.manual_seed(0)
    probe, lr = probe_of(nn.Linear(4, 3)), 0.05
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 1]]).bool()
    start = ortho_repair_as_released(probe, {"weight": mask}, Streams(0), steps=0)[0]["weight"]
    W, total = (start * mask).double().requires_grad_(), torch.zeros(3, 4, dtype=torch.float64)
    for _ in range(3):
        loss = torch.linalg.matrix_norm((W * mask) @ (W * mask).T - torch.eye(3))
        total = total + torch.autograd.grad(loss, W)[0]
        W = (W - lr * total).detach().requires_grad_()
    found = ortho_repair_as_released(probe, {"weight": mask}, Streams(0), steps=3, lr=lr)[0]["weight"]
    np.testing.assert_allclose(found.numpy(), (W * mask).detach().numpy(), atol=1e-5)
