"""Which weights lie on a path from the input to the output: asked of the model itself.

    alive_l = [ |M_l| alive_{l-1} > 0 ]        a weight is on a path if something alive comes in and something reads it

A copy of the network on an input of ones, with masks in place of weights: a forward pass says what is reached, a
backward pass what is read. After each masked layer both are cut to 0 and 1, so 1000 layers neither vanish nor overflow,
and float32 is exact. The graph is the model's own: a channel that a shortcut carries is alive, a tap that only sees
padding is not.

Biases are 0, activations and normalisation the identity, maxima means (all of a window may be the largest), a sigmoid
x + 1/2: gates are open. Parameters without a mask are open too. Only modules of torch.nn are seen.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import LAYERS, plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.scores.flow import straighten
from sparse_ortho.scores.passes import NORMS

Kept = Mapping[str, torch.Tensor]
GATES = (nn.Sigmoid, nn.Hardsigmoid)
MEANS: dict[type[nn.Module], type[nn.Module]] = {
    nn.MaxPool1d: nn.AvgPool1d,
    nn.MaxPool2d: nn.AvgPool2d,
    nn.MaxPool3d: nn.AvgPool3d,
    nn.AdaptiveMaxPool1d: nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool2d: nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool3d: nn.AdaptiveAvgPool3d,
}


class _Alive(torch.autograd.Function):
    """[x > 0], and [g > 0] on the way back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return (grads[0] > 0).to(grads[0])


class _Open(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.5


class Paths:
    """The copy of a model whose masks are asked about."""

    def __init__(self, probe: Probe):
        self.shape = input_shape(probe)
        self.model, self.layers = skeleton(probe)
        self.weights = {name: module.weight.requires_grad_() for name, module in self.layers.items()}

    @torch.enable_grad()
    def open_places(self, kept: Kept) -> dict[str, torch.Tensor]:
        """Where a weight is on a path, or would be if it were active."""
        with torch.no_grad():
            for name, mask in kept.items():
                self.weights[name].copy_(mask)
        with ExitStack() as stack, torch.random.fork_rng([]):
            for module in self._masked():
                hook = module.register_forward_hook(lambda _, args, output: _Alive.apply(output))
                stack.callback(hook.remove)
            reached = self.model(torch.ones(1, *self.shape)).sum()
            slopes = torch.autograd.grad(
                reached, list(self.weights.values()), allow_unused=True, materialize_grads=True
            )
        return {name: slope > 0 for name, slope in zip(self.weights, slopes, strict=True)}

    def on_path(self, kept: Kept) -> dict[str, torch.Tensor]:
        """The active weights that something passes."""
        return {name: place & kept[name] for name, place in self.open_places(kept).items()}

    def _masked(self) -> list[nn.Module]:
        """The layers whose weight is asked about: of a tied one, all."""
        mine = {id(weight) for weight in self.weights.values()}
        return [m for m in self.model.modules() if isinstance(m, LAYERS) and id(m.weight) in mine]

    @torch.no_grad()
    def joined(self, kept: Kept, scores: Kept) -> dict[str, torch.Tensor]:
        """The masks with a weight more, the best that something reaches, in every layer that passes nothing on."""
        names = {id(weight): name for name, weight in self.weights.items()}
        for name, mask in kept.items():
            self.weights[name].copy_(mask)

        def open_one(module: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            if not output.any():
                with torch.enable_grad():
                    (slope,) = torch.autograd.grad(module.forward(*args).sum(), [module.weight])
                score = scores[names[id(module.weight)]].double()
                best = torch.where(slope > 0, score, -torch.inf).argmax()
                if slope.any():
                    module.weight.view(-1)[best] = 1.0
                output = module.forward(*args)
            return (output > 0).to(output)

        with ExitStack() as stack, torch.random.fork_rng([]):
            for module in self._masked():
                stack.callback(module.register_forward_hook(open_one).remove)
            self.model(torch.ones(1, *self.shape))
        return {name: weight > 0 for name, weight in self.weights.items()}


def skeleton(probe: Probe) -> tuple[nn.Module, dict[str, Any]]:
    """A copy on the CPU that only passes things on, and its masked layers by the name of their weight."""
    meta = {name for name, tensor in probe.model.named_buffers() if tensor.is_meta}
    model = copy.deepcopy(probe.model)
    kept = {name: buffer.detach().cpu() for name, buffer in model.named_buffers() if name not in meta}
    # to_empty asks empty_like of meta tensors, for which torch imports sympy: 0.5 s of every process that prunes
    model = model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
    model = model.requires_grad_(False).eval().float()
    straighten(_opened(model))
    for name, parameter in model.named_parameters():
        parameter.fill_(0.0 if parameter.ndim < 2 and name.endswith("bias") else 1.0)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(kept[name].abs()) if name in kept else buffer.fill_(0.5)
    layers = {
        plain_name(f"{path}.weight" if path else "weight"): module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, LAYERS)
    }
    for name in probe.weights:
        if name not in layers:
            raise UserError(name, "paths are known through linear and convolution layers alone")
    return nn.Sequential(model), {name: layers[name] for name in probe.weights}  # a layer alone has a parent then


def _opened(model: nn.Module) -> nn.Module:
    """Gates open, maxima means, normalisation gone; the rest is `straighten`'s."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, GATES):
                parent._modules[name] = _Open()
            elif isinstance(child, NORMS):
                parent._modules[name] = nn.Identity()
            elif child is not None and type(child) in MEANS:
                parent._modules[name] = _mean(child)
    return model


def _mean(pool: nn.Module) -> nn.Module:
    kind: Any = MEANS[type(pool)]
    if hasattr(pool, "output_size"):
        return kind(pool.output_size)
    return kind(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode)


def input_shape(probe: Probe) -> tuple[int, ...]:
    if probe.shape is not None:
        return probe.shape
    if not probe.batches:
        raise UserError("repair", "needs the shape of the network's input; pass data=[(x, y), ...]")
    return tuple(probe.batches[0][0].shape[1:])
