"""Tricks for a network and a training loop of one's own.

softened = so.soften_(model, "swish")          ghosts = so.ghost_skips_(model)
optimizer.add_param_group({"params": list(ghosts.parameters())})
softened.step(n / steps); ghosts.step(n / steps)      after step n: what the schedule says
softened.finish(); ghosts.finish()                    the plain network, if `fraction` or `always_on` left more
"""

from __future__ import annotations

from typing import Any

from torch import nn

from sparse_ortho.signatures import method
from sparse_ortho.tricks.attached import Attached


def soften_(model: nn.Module, kind: str = "swish", **options: Any) -> Attached:
    """Soft activations in the place of every ReLU module, until their schedule is over."""
    given = {"kind": kind, **options}
    return method("tricks", "soft", given)(**given).attach(model)


def ghost_skips_(model: nn.Module, kind: str = "conv1x1", **options: Any) -> Attached:
    """Skips around the layers of residual blocks, or around square layers, until their schedule is over."""
    given = {"kind": kind, **options}
    return method("tricks", "ghost", given)(**given).attach(model)
