"""How sparse the activations of every layer are (after the analysis in VITA-Group/ToST: output of an activation, |a| at
most 0.01, over the test set).

    zero/<activation>  = share of a = 0,      small/<activation> = share of |a| <= threshold,    over images and units
    quiet/<activation> = share of units (channels) that are 0 everywhere on all of these images

Not from there: every activation at once and every use of it; exact zeros beside small values, since a soft activation
has the one and not the other; `quiet`, which tells dead units from those that rest.
"""

from __future__ import annotations

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.measure.subject import BATCH, Subject
from sparse_ortho.measure.watching import watch

RANGES = {"threshold": "at least 0", "images": "at least 1"}


def activations(
    model: nn.Module, subject: Subject, *, threshold: float = 0.01, images: int = 10_000
) -> dict[str, float]:
    """On so many test images, or all if there are fewer; without a layer's name the share of all activations."""
    if not threshold >= 0 or images < 1:
        name, value = ("images", images) if images < 1 else ("threshold", threshold)
        raise UserError(f"measure.{name}", "out of range", found=value)
    zero: dict[str, int] = {}
    small: dict[str, int] = {}
    size: dict[str, int] = {}
    awake: dict[str, torch.Tensor] = {}

    def seen(name: str, output: torch.Tensor, _labels: torch.Tensor) -> None:
        zero[name] = zero.get(name, 0) + int((output == 0).sum())
        small[name] = small.get(name, 0) + int((output.abs() <= threshold).sum())
        size[name] = size.get(name, 0) + output.numel()
        units = output.ne(0).transpose(0, 1).flatten(1).any(1)
        awake[name] = awake[name] | units if name in awake else units

    watch(model, subject.batches("test", images, BATCH), seen)
    units = sum(len(found) for found in awake.values())
    whole = {
        "zero": sum(zero.values()) / sum(size.values()),
        "small": sum(small.values()) / sum(size.values()),
        "quiet": 1 - sum(int(found.sum()) for found in awake.values()) / units,
    }
    return (
        whole
        | {f"zero/{name}": zero[name] / size[name] for name in size}
        | {f"small/{name}": small[name] / size[name] for name in size}
        | {f"quiet/{name}": 1 - float(found.double().mean()) for name, found in awake.items()}
    )
