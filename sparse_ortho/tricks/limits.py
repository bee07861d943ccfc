"""Options of tricks out of their range, refused in one sentence."""

from __future__ import annotations

import math

from sparse_ortho.errors import UserError


def positive(where: str, **options: float) -> None:
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise UserError(f"{where}.{name}", "must be a finite number above 0", found=value)


def share_of(where: str, fraction: float) -> None:
    """Of the training that a schedule takes: at 0 the trick would never be there."""
    if not 0 < fraction <= 1:
        raise UserError(f"{where}.fraction", "out of range", found=fraction, allowed="(0, 1]")
