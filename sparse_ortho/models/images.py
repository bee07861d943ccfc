"""What a convolutional network says about its input: images, large enough that its last map holds something."""

from __future__ import annotations

from sparse_ortho.errors import UserError


def image_shape(shape: tuple[int, ...], model: str, least: int = 1) -> tuple[int, int, int]:
    """Channels, height and width; `least` is the shortest side that leaves the last map with a value."""
    if len(shape) != 3:
        raise UserError("model", f"{model} takes images of channels x height x width", found=tuple(shape))
    if min(shape[1:]) < least:
        raise UserError("model", f"{model} takes images of at least {least} x {least}", found=tuple(shape))
    return shape[0], shape[1], shape[2]
