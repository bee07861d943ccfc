"""Networks as they start: initialised by a cell's method, or as a score wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.registry import beside
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.streams import Streams


def initialised(model: torch.nn.Module, masks: Any, method: Mapping[str, Any], streams: Streams) -> Any:
    """The model with new weights, in place; the masks that the initialisation leaves."""
    name, options = options_of(method)
    bias_std = options.pop("bias_std", 0.0)
    return initialize(model, masks, name, streams, options=options, bias_std=bias_std)


def probe_for(spec: Mapping[str, Any], streams: Streams) -> Probe:
    """The model as its score wants to see it: initialised when the score reads weights, else on the meta device."""
    needs = beside("scores", spec["mask"]["score"]["name"], "NEEDS", ())
    model = build(spec, "cpu" if needs else "meta")
    if needs:
        initialised(model, None, spec.get("score_init", {"name": "kaiming"}), streams)
    return Probe(model, {name: parameter.detach() for name, parameter in maskable(model).items()})
