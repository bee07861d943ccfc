"""GradInit, and with masks LRsI (Zhu, Ni, Xu, Kong, Huang, Goldstein, "GradInit: Learning to Initialize Neural Networks
for Stable and Efficient Training", NeurIPS 2021, arXiv 2102.08098; Jaiswal et al., ICML 2022, arXiv 2206.12755).

    one scale s a tensor (weight, bias or normalisation):  theta = s theta_0
    g = grad L(theta; S),    S = two batches
    |g| > gamma:  s descends |g|;    otherwise  s descends  L(theta - eta A(g); S') / eta,   S' = the first and a third
    A = g / |g|_2 (sgd; g where `normalize` is off) or sign(g) (adam, with |g|_1),   a constant to the derivative

The descent is Adam's with two first moments and clipped slopes; s stays above `min_scale` (biases: 0). Defaults are
ToST's: 180 iterations with a rate of 0.01, gamma = 1, eta = 0.1. `gamma: 0` means no bound, and no second derivative.

With masks theta_0 is masked and so is g, in the norm as in the step: a masked weight stays 0 in the look-ahead, which
the bound on |g| then is about too. `order: dense_first` scales the dense network and masks it afterwards, which is what
ToST's README runs. `gradinit@as_released` is its other program: theta_0 is masked, g is not, so pruned weights live
again in the look-ahead. (That program also smooths labels; here that is the trick `smoothing`.)

Not from the papers: `base`, the initialisation that is scaled; biases that are 0 keep no scale, like all zero tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.inits.functional import Batch, Function, Tensors, endless
from sparse_ortho.inits.rescaling import Options, learnt_scales
from sparse_ortho.masks import Masks
from sparse_ortho.probe import Probe
from sparse_ortho.signatures import method
from sparse_ortho.streams import Streams

NEEDS = ("data",)
BASE = "base"  # the option that names another initialisation
WHOLE = True  # it looks at the whole network at once, and returns more than its maskable weights
Made = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


def gradinit(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    base: str = "kaiming",
    order: Literal["mask_first", "dense_first"] = "mask_first",
    iters: int = 180,
    lr: float = 0.01,
    eta: float = 0.1,
    gamma: float = 1.0,
    alg: Literal["sgd", "adam"] = "sgd",
    normalize: bool = True,
    min_scale: float = 0.01,
    clip: float = 1.0,
    batch: int = 128,
    overlap: bool = True,
) -> Made:
    """Scaled weights, biases and normalisation, and the masks as the base leaves them."""
    if order not in ("mask_first", "dense_first"):
        raise UserError("init.order", "unknown order", found=order, allowed=("mask_first", "dense_first"))
    options = Options(iters, lr, eta, gamma, alg, normalize, min_scale, clip, overlap)
    if order == "mask_first":
        start, kept = started(probe, masks, streams, base)
        return made(probe, start, kept, options, batch, kept)
    start, _ = started(probe, {name: torch.ones_like(mask) for name, mask in masks.items()}, streams, base)
    return made(probe, start, masks, options, batch, {})


def gradinit_as_released(
    probe: Probe,
    masks: Mapping[str, torch.Tensor],
    streams: Streams,
    *,
    base: str = "kaiming",
    iters: int = 180,
    lr: float = 0.01,
    eta: float = 0.1,
    gamma: float = 1.0,
    alg: Literal["sgd", "adam"] = "sgd",
    normalize: bool = True,
    min_scale: float = 0.01,
    clip: float = 1.0,
    batch: int = 128,
    overlap: bool = True,
) -> Made:
    """Masked first, with gradients that know no mask."""
    start, kept = started(probe, masks, streams, base)
    return made(probe, start, kept, Options(iters, lr, eta, gamma, alg, normalize, min_scale, clip, overlap), batch, {})


def started(probe: Probe, masks: Tensors, streams: Streams, base: str) -> Made:
    """What the base makes of sparse and of dense layers, masked."""
    if base.partition("@")[0] == "gradinit":
        raise UserError("init.base", "must be another initialisation", found=base)
    function = method("inits", base, None, data=probe.batches)
    sparse = {name: mask for name, mask in masks.items() if not bool(mask.all())}
    dense = {name: mask for name, mask in masks.items() if name not in sparse}
    weights, kept = {}, {}
    for group in filter(None, (sparse, dense)):
        only = replace(probe, weights={name: probe.weights[name] for name in group})
        found, left = function(only, group, streams)
        weights, kept = weights | found, kept | left
    return {n: weights[n] * kept[n] if n in kept else weights[n] for n in weights}, {n: kept[n] for n in masks}


def made(probe: Probe, start: Tensors, masks: Tensors, options: Options, batch: int, gradient_masks: Tensors) -> Made:
    """Learn the scales of everything, and lay the masks over the result."""
    if probe.batches is None:
        raise UserError("inits.gradinit", "needs data, and none was given; pass data=[(x, y), ...]")
    if batch < 1:
        raise UserError("init.batch", "must be at least 1", found=batch)
    function = Function(probe.model, probe.loss)
    theta = function.parameters()
    told = {**probe.weights, **start}  # biases as they will be, and the weights of the base
    theta = {name: told[name].to(value) if name in told else value for name, value in theta.items()}
    on = {name: mask.to(theta[name].device) for name, mask in gradient_masks.items() if name in theta}
    scales = learnt_scales(function, theta, on, endless(probe.batches, batch, "gradinit"), options)
    weights = {name: value * scales[name] for name, value in theta.items()}
    kept = {name: mask.clone() for name, mask in masks.items()}
    return {n: (w * kept[n].to(w.device) if n in kept else w) for n, w in weights.items()}, kept


def gradinit_(
    model: nn.Module,
    batches: Iterable[Batch],
    masks: Mapping[str, torch.Tensor] | None = None,
    *,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    iters: int = 180,
    lr: float = 0.01,
    eta: float = 0.1,
    gamma: float = 1.0,
    alg: str = "sgd",
    normalize: bool = True,
    min_scale: float = 0.01,
    clip: float = 1.0,
    batch: int = 0,
    overlap: bool = True,
) -> dict[str, float]:
    """Scale the weights that `model` has, in place; returns the scale of each tensor.

    `batches` is a list or a loader of (x, y), read again and again, three batches (without `overlap` four) an
    iteration; one of more than `batch` rows is taken in parts. Weights that `masks` leave out are set to 0 first.
    """
    bound = None if masks is None else Masks(masks, model)
    function = Function(model, loss)
    options = Options(iters, lr, eta, gamma, alg, normalize, min_scale, clip, overlap)
    theta = function.parameters()
    on = {name: mask.to(theta[name].device) for name, mask in (bound or {}).items() if name in theta}
    start = {name: value * on[name] if name in on else value for name, value in theta.items()}
    scales = learnt_scales(function, start, on, endless(batches, batch, "gradinit_"), options)
    with torch.no_grad():
        for name, value in start.items():
            theta[name].copy_(value * scales[name])  # theta shares memory with the model
    return scales
