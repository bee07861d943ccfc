"""Initialise a model in place: weights by a registered method, biases 0 or Gaussian, masked weights exactly 0.

Only linear, convolution, recurrent and attention layers are touched; normalisation layers keep their weight 1 and bias
0 (the released code of EOI redraws their biases too, because it looks for "bias" in the name). A method that says WHOLE
is shown all layers at once, sparse and dense, with the biases as they will be, and may return any parameter of the
model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.gated import biases_of
from sparse_ortho.masks import LAYERS, Masks, maskable, plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.registry import beside
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
    parameters = maskable(model, include=["*"])
    for masked in masks or ():
        if masked not in parameters:
            raise UserError("masks", "no maskable layer of this name", found=masked, allowed=parameters)
    bound = None if masks is None else Masks(masks, model)  # refuses shapes that do not fit, before anything is written
    sparse = {n: mask.cpu() for n, mask in (bound or {}).items()}
    dense = {n: torch.ones(p.shape, dtype=torch.bool) for n, p in parameters.items() if n not in sparse}
    whole, drawn = beside("inits", name, "WHOLE", False), _biases(model, streams, bias_std)
    made = []
    for given in [sparse | dense] if whole else filter(None, (sparse, dense)):
        weights = {n: parameters[n].detach() for n in parameters if n in given} | (drawn if whole else {})
        made.append(function(Probe(model, weights, batches, loss), given, streams, **(options or {})))
    written = {plain_name(n): p for n, p in model.named_parameters(remove_duplicate=False)} | parameters
    with torch.no_grad():
        for layer, weight in [*drawn.items(), *(item for weights, _ in made for item in weights.items())]:
            written[layer].copy_(weight)
    if bound is None:
        return None
    return bound.update_({layer: made[0][1][layer] for layer in sparse}).apply_()


def _biases(model: nn.Module, streams: Streams, std: float) -> dict[str, torch.Tensor]:
    """What the biases of all these layers become, by name."""
    found = {}
    for path, module in model.named_modules():
        layer = isinstance(module, LAYERS) and isinstance(module.bias, nn.Parameter)
        for attribute in ["bias"] if layer else biases_of(module):
            bias, name = module.get_parameter(attribute), plain_name(f"{path}.{attribute}" if path else attribute)
            found[name] = torch.zeros(bias.shape, dtype=bias.dtype)
            if std:
                found[name].copy_(torch.from_numpy(streams("init", name).standard_normal(tuple(bias.shape)) * std))
    return found


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
