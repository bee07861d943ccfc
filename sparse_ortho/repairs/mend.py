"""A mask mended by a registered repair, and what can be said of any mask: empty layers, weights on no path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparse_ortho.probe import Probe
from sparse_ortho.repairs.paths import Paths
from sparse_ortho.signatures import method
from sparse_ortho.streams import Streams

Kept = Mapping[str, torch.Tensor]


def mend(
    repair: str | Mapping[str, Any], probe: Probe, kept: Kept, scores: Kept | None, streams: Streams
) -> dict[str, torch.Tensor]:
    """The masks after a repair; what it opens and closes is ranked by `scores`, at random without them."""
    given = {"name": repair} if isinstance(repair, str) else dict(repair)
    name = given.pop("name", None)
    function = method("repairs", name, given)  # type: ignore[arg-type]
    if scores is None:
        scores = {n: torch.from_numpy(streams("mask", n).random(tuple(mask.shape))) for n, mask in kept.items()}
    return function(probe, kept, scores, streams, **given)


def facts(probe: Probe, kept: Kept) -> dict[str, Any]:
    """Which layers collapsed, and how many active weights nothing passes."""
    through = Paths(probe).on_path(kept)
    return {
        "empty": [name for name, mask in kept.items() if not mask.any()],
        "off_path": sum(int((kept[name] & ~on).count_nonzero()) for name, on in through.items()),
    }
