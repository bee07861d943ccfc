"""What an ideal sparse kernel would take, an estimate, beside what kernels take here (`--bench` of the released program
of Dettmers, Zettlemoyer, "Sparse Networks from Scratch", 2019, arXiv 1907.04840).

    dense              measured: t, the forward pass of a layer with its masked weights as a dense tensor
    estimate           an estimate: t x density of the layer's input x density of its weights
    estimate_channels  an estimate: t x (1 - share of input channels whose weights are all 0)
                                   x (1 - share of (image, channel) maps of the input that are all 0)
    csr                measured: the weights in compressed rows, of a convolution after im2col, which is timed with it

all summed over the layers that have a mask, for the inputs that a batch of images makes them have. Not from the paper:
linear layers (there convolutions alone, whose inputs' channels are units here), processor time of one thread (there of
a GPU), and `csr`. A mask is applied as it is in training, so `dense` costs the same at every density. A dense network
has the layers that could have a mask.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from sparse_ortho.bench.clock import seconds_of
from sparse_ortho.bench.network import Network, network_of
from sparse_ortho.bench.setting import Setting
from sparse_ortho.errors import UserError
from sparse_ortho.masks import maskable

RANGES = {"batch": "at least 1", "repeats": "at least 1"}
NEEDS = ("network",)


@dataclass(frozen=True)
class Use:
    """A layer and an input that it had."""

    layer: nn.Module
    x: torch.Tensor


def kernels(
    setting: Setting,
    *,
    how: Literal["dense", "estimate", "estimate_channels", "csr"] = "dense",
    batch: int = 100,
    repeats: int = 5,
) -> dict[str, float]:
    """seconds of all layers for a batch, and the density of their inputs (of all values together)."""
    if batch < 1:
        raise UserError("bench.batch", "must be at least 1", found=batch)
    uses = uses_of(network_of(setting), batch)
    work = csr if how == "csr" else dense
    factor: Callable[[Use], float] = {"estimate": ideal, "estimate_channels": ideal_channels}.get(how, lambda _: 1.0)
    with torch.inference_mode():
        seconds = sum(factor(use) * seconds_of(work(use), repeats) for use in uses)
    values = sum(use.x.numel() for use in uses)
    return {"seconds": seconds, "input_density": sum(int(use.x.count_nonzero()) for use in uses) / values}


def uses_of(network: Network, batch: int) -> list[Use]:
    """Every use of a layer whose weight has, or could have, a mask, in one pass of the network as it starts."""
    model, found = network.model.eval(), []
    if network.masks is not None:
        network.masks.apply_()
    names = set(network.masks or maskable(model))
    handles = [
        module.register_forward_hook(lambda layer, given, _: found.append(Use(layer, given[0].detach().clone())))
        for name, module in model.named_modules()
        if f"{name}.weight" in names and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            model(network.take(batch)[0])
    finally:
        for handle in handles:
            handle.remove()
    return found


def ideal(use: Use) -> float:
    weight = _weight(use)
    return share(use.x != 0) * share(weight != 0)


def ideal_channels(use: Use) -> float:
    """The outputs of a group read its own channels alone."""
    weight, groups = _weight(use), getattr(use.layer, "groups", 1)
    used = (weight != 0).flatten(2) if weight.ndim > 2 else (weight != 0)[..., None]  # (outputs, channels, places)
    used = used.unflatten(0, (groups, -1)).any(3).any(1)  # (groups, channels of each)
    maps = (use.x != 0).flatten(2).any(2) if use.x.ndim > 2 else use.x != 0
    return share(used) * share(maps)


def share(marks: torch.Tensor) -> float:
    return int(marks.sum()) / marks.numel()


def dense(use: Use) -> Callable[[], Any]:
    layer, x = use.layer, use.x
    return lambda: layer(x)


def csr(use: Use) -> Callable[[], Any]:
    layer, weight = use.layer, _weight(use)
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise UserError("bench.how", "csr has no grouped convolutions", found="csr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR tensors a beta
        rows = weight.flatten(1).to_sparse_csr()
    own: Any = layer.bias
    bias = None if own is None else own.detach()[:, None]
    if isinstance(layer, nn.Linear):
        return lambda: _plus(rows @ use.x.flatten(0, -2).T, bias)
    told: dict[str, Any] = {k: getattr(layer, k) for k in ("kernel_size", "dilation", "padding", "stride")}

    def as_columns() -> torch.Tensor:
        patches = F.unfold(use.x, **told)  # (images, values of a patch, places)
        return _plus(rows @ patches.transpose(0, 1).flatten(1), bias)

    return as_columns


def _plus(product: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return product if bias is None else product + bias


def _weight(use: Use) -> torch.Tensor:
    weight: Any = use.layer.weight
    return weight.detach()
