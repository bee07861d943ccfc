"""A thin dense network: as many weights as a sparse one, in fewer units (a control of Mostafa, Wang, ICML 2019).

    hidden widths  max(1, round(s h_1)), max(1, round(s h_2)), ...   with the s at which the number of weights comes
    nearest to  density x (number of weights of the widths h_1, h_2, ...);  of equally near ones the smaller

Biases are not counted, as masks do not keep count of them. LeNet-300-100 on MNIST at density 0.1 becomes 784-33-11-10.
Thin convolutional networks are those of `resnet`, `deep_resnet` and `vanilla` with another `width`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.models.limits import at_least
from sparse_ortho.models.mlp import MLP


def thin_mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: tuple[int, ...] = (300, 100),
    density: float = 0.1,
    activation: Literal["linear", "tanh", "hard_tanh", "relu", "lrelu", "selu"] = "relu",
) -> nn.Module:
    if not 0 < density <= 1:
        raise UserError("model.density", "out of range", found=density, allowed="(0, 1]")
    if not hidden:
        raise UserError("model.hidden", "needs a layer that can be thinner", found=list(hidden))
    at_least(1, hidden=min(hidden))
    inputs = math.prod(shape)
    return MLP((inputs, *widths(inputs, hidden, classes, density), classes), activation)


def widths(inputs: int, hidden: Sequence[int], classes: int, density: float) -> tuple[int, ...]:
    """The number of weights rises with s in steps, each where a width is rounded up, at s = (i + 1/2) / h."""
    target = density * weights(inputs, hidden, classes)
    steps = sorted({(i + 0.5) / h for h in hidden for i in range(h)} | {0.0, 1.0})
    found = [tuple(max(1, math.floor(s * h + 0.5 + 1e-9)) for h in hidden) for s in steps]
    return min(found, key=lambda sizes: abs(weights(inputs, sizes, classes) - target))


def weights(inputs: int, hidden: Sequence[int], classes: int) -> int:
    sizes = (inputs, *hidden, classes)
    return sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))
