"""What an image costs: multiply-adds of the layers with a mask, as the masks would need and as a dense network does.

    flops = sum_l positions_l |M_l|,    positions_l: places at which layer l is computed, for a linear layer one

A multiplication and the addition after it count as one, as in most papers on sparse training; biases, normalisation
and activations count nothing; taps on padding count as others do. Positions are seen in a forward pass of one image, a
layer that is called twice counts twice. It is what a machine with free sparsity would do: dense kernels with masks
take `flops_dense`. `flops_share` is the quotient, `flops/<layer>` and `flops_dense/<layer>` the same layer by layer.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from sparse_ortho.masks import maskable
from sparse_ortho.measure.jacobian import evaluating
from sparse_ortho.measure.subject import Subject


def flops(model: nn.Module, subject: Subject) -> dict[str, float]:
    """Multiply-adds of the forward pass of one image."""
    kept, places = subject.surviving(model), positions(model, subject(1))
    sparse = {name: float(places[name] * int(mask.count_nonzero())) for name, mask in kept.items()}
    dense = {name: float(places[name] * mask.numel()) for name, mask in kept.items()}
    totals = {"flops": sum(sparse.values()), "flops_dense": sum(dense.values())}
    found = totals | {"flops_share": totals["flops"] / totals["flops_dense"] if totals["flops_dense"] else 0.0}
    for name in kept:
        found |= {f"flops/{name}": sparse[name], f"flops_dense/{name}": dense[name]}
    return found


def positions(model: nn.Module, x: torch.Tensor) -> Counter[str]:
    """At how many places an image has each maskable layer computed."""
    names = {id(weight): name for name, weight in maskable(model).items()}
    found: Counter[str] = Counter()

    def count(module: Any, _: Any, output: torch.Tensor) -> None:
        found[names[id(module.weight)]] += output.numel() // (len(x) * len(module.weight))

    with ExitStack() as stack, torch.no_grad(), evaluating(model):
        for module in model.modules():
            if id(getattr(module, "weight", None)) in names:
                stack.callback(module.register_forward_hook(count).remove)
        model(x)
    return found
