"""Initialise a model in place: weights by a registered method, biases 0 or Gaussian, masked weights exactly 0.

Only linear and convolution layers are touched; normalisation layers keep their weight 1 and bias 0 (the released code
of EOI redraws their biases too, because it looks for "bias" in the name).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import LAYERS, Masks, maskable, plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.signatures import method
from sparse_ortho.streams import Streams

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]
Loss = Callable[[Any, Any], torch.Tensor]


def initialize(
    model: nn.Module,
    masks: Masks | None,
    name: str,
    streams: Streams,
    *,
    options: Mapping[str, Any] | None = None,
    bias_std: float = 0.0,
    batches: Batches | None = None,
    loss: Loss | None = None,
) -> Masks | None:
    """Write the weights and return the masks that go with them; without masks the whole model is dense.

    Layers that `masks` leaves out are initialised as dense ones, and give nothing to the budget of the others.
    """
    function = method("inits", name, options, data=batches)
    parameters = maskable(model)
    for masked in masks or ():
        if masked not in parameters:
            raise UserError("masks", "no maskable layer of this name", found=masked, allowed=parameters)
    bound = None if masks is None else Masks(masks, model)  # refuses shapes that do not fit, before anything is written
    sparse = {n: mask.cpu() for n, mask in (bound or {}).items()}
    dense = {n: torch.ones(p.shape, dtype=torch.bool) for n, p in parameters.items() if n not in sparse}
    made = []
    for given in filter(None, (sparse, dense)):
        probe = Probe(model, {n: parameters[n].detach() for n in parameters if n in given}, batches, loss)
        made.append(function(probe, given, streams, **(options or {})))
    with torch.no_grad():
        for weights, _ in made:
            for layer, weight in weights.items():
                parameters[layer].copy_(weight)
        _draw_biases(model, streams, bias_std)
    if bound is None:
        return None
    return bound.update_(made[0][1] if sparse else {}).apply_()


def _draw_biases(model: nn.Module, streams: Streams, std: float) -> None:
    for path, module in model.named_modules():
        if isinstance(module, LAYERS) and isinstance(module.bias, nn.Parameter):
            rng = streams("init", plain_name(f"{path}.bias" if path else "bias"))
            noise = rng.standard_normal(tuple(module.bias.shape)) * std if std else 0.0
            module.bias.copy_(torch.as_tensor(noise))


def initialize_(
    model: nn.Module,
    masks: Masks | None,
    name: str,
    *,
    seed: int,
    data: Batches | None = None,
    loss: Loss | None = None,
    bias_std: float = 0.0,
    **options: Any,
) -> Masks | None:
    """Initialise `model` in place and return the new masks (None for a dense model)."""
    return initialize(model, masks, name, Streams(seed), options=options, bias_std=bias_std, batches=data, loss=loss)
