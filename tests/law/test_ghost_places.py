"""Ghost skips in blocks that the released code leaves alone: bottlenecks, and blocks with normalisation first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import sparse_ortho as so
from sparse_ortho.errors import UserError
from sparse_ortho.models.deep_resnet import deep_resnet
from sparse_ortho.models.densenet import DenseLayer
from sparse_ortho.models.residual import Bottleneck
from sparse_ortho.models.resnet import cifar_resnet


def ghosted(block: nn.Module, alpha: float) -> tuple[Any, list[nn.Module]]:
    """The block with branches of random weights at one strength, and the branches."""
    ghosts = so.ghost_skips_(block, fraction=1.0)
    for parameter in ghosts.parameters():
        nn.init.normal_(parameter)
    ghosts.step(1 - alpha)
    return ghosts, list(ghosts.extra.children())


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_a_bottleneck_has_a_ghost_around_each_of_its_three_convolutions(alpha: float) -> None:
    torch.manual_seed(0)
    block = Bottleneck(6, 8, "relu", stride=2)
    _, branches = ghosted(block, alpha)
    x = torch.randn(4, 6, 6, 6)
    h = x
    for number, branch in enumerate(branches, start=1):
        conv, norm = block.get_submodule(f"conv{number}"), block.get_submodule(f"bn{number}")
        y = norm.forward(conv.forward(h)) + alpha * branch(h)  # forward: around the hooks
        h = torch.relu(y) if number < 3 else torch.relu(y + block.shortcut(x))
    torch.testing.assert_close(block(x), h, rtol=1e-5, atol=1e-5)
    assert [branch[0].stride for branch in branches] == [(1, 1), (2, 2), (1, 1)]  # type: ignore[index]


def test_ghosts_of_resnet50_are_counted_by_hand() -> None:
    ghosts = so.ghost_skips_(deep_resnet((3, 64, 64), 10, depth=50))
    inputs, weights, norms = 64, 0, 0
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for _ in range(blocks):
            weights += inputs * inner + inner * inner + inner * 4 * inner
            norms += 2 * (inner + inner + 4 * inner)
            inputs = 4 * inner
    assert weights == 10_616_832
    assert sum(p.numel() for p in ghosts.parameters() if p.ndim == 4) == weights and ghosts.size == weights + norms


@pytest.mark.parametrize("kind", ["conv1x1", "identity"])
def test_a_network_of_bottlenecks_is_plain_after_the_schedule(kind: str) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return cifar_resnet((1, 8, 8), 3, depth=11, width=4, block="bottleneck")

    model, plain, x = net(), net().eval(), torch.randn(5, 1, 8, 8)
    ghosts = so.ghost_skips_(model, kind)
    for parameter in ghosts.parameters():
        nn.init.normal_(parameter)
    assert list(model.state_dict()) == list(plain.state_dict())
    model.eval()
    assert (model(x) - plain(x)).abs().max() > 1e-3
    ghosts.step(0.5)
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-6)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_where_normalisation_comes_first_a_ghost_is_added_to_the_convolution() -> None:
    torch.manual_seed(0)
    layer = DenseLayer(5, 3, "relu", dropout=0.0)
    _, (first, second) = ghosted(layer, 0.4)
    x = torch.randn(4, 5, 6, 6)
    h = torch.relu(layer.bn1(x))
    y = layer.conv1.forward(h) + 0.4 * first(h)
    h = torch.relu(layer.bn2(y))
    expected = torch.cat([x, layer.conv2.forward(h) + 0.4 * second(h)], 1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


class Swapped(nn.Module):
    """Says conv before BN and runs them the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.conv2, self.bn2 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.bn2(self.conv1(self.bn1(x))))


def test_a_block_that_runs_in_another_order_than_it_says_is_refused_in_one_sentence() -> None:
    model = Swapped()
    so.ghost_skips_(model)
    with pytest.raises(UserError, match="tricks.ghost: conv1: its normalisation runs before it"):
        model(torch.randn(2, 2, 3, 3))
