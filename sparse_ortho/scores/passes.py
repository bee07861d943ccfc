"""Forward passes with weights of one's own: the model, its buffers, its flags and the generators stay as they are.

Gradient scores look at the loss that training will descend, so normalisation uses the statistics of the batch, as in
training: at initialisation the stored ones (mean 0, variance 1) describe another network. Everything else runs as in
evaluation, because dropout would make a score depend on what it happened to drop. The flags that the model comes with
are not read: a score depends on the spec alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name
from sparse_ortho.probe import Probe

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
Tensors = dict[str, torch.Tensor]


def leaves(probe: Probe, double: bool = False) -> Tensors:
    """The weights as tensors that collect gradients and belong to no model, in float64 if `double`."""
    copies = {name: weight.detach().clone() for name, weight in probe.weights.items()}
    return {name: (copy.double() if double else copy).requires_grad_() for name, copy in copies.items()}


def names(probe: Probe) -> dict[str, str]:
    """Our name of a weight -> the first name that the model has for it; a tied weight is handed over once."""
    first: dict[int, str] = {}
    known: dict[str, str] = {}
    for name, parameter in probe.model.named_parameters(remove_duplicate=False):
        known[plain_name(name)] = first.setdefault(id(parameter), name)
    return {name: known[name] for name in probe.weights}


def state_of(probe: Probe, weights: Tensors) -> Tensors:
    """All that `functional_call` wants: `weights`, the other parameters, and copies of the buffers.

    The others are as precise as the weights; statistics in float32 beside weights in float16 stay what they are.
    """
    own, kind = {name: weights[ours] for ours, name in names(probe).items()}, next(iter(weights.values())).dtype
    parameters = {name: _at_least(p.detach(), kind) for name, p in probe.model.named_parameters() if name not in own}
    buffers = {name: _at_least(buffer.clone(), kind) for name, buffer in probe.model.named_buffers()}
    return parameters | buffers | own


def _at_least(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, kind)) if tensor.is_floating_point() else tensor


@contextmanager
def undisturbed(model: nn.Module, *, batch_statistics: bool) -> Iterator[None]:
    """Flags as the module's docstring says, and generators that forget what was drawn."""
    wrong = [m for m in model.modules() if m.training != (batch_statistics and isinstance(m, NORMS))]
    devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    try:
        for module in wrong:
            module.training = not module.training
        with torch.random.fork_rng(sorted(devices)):
            yield
    finally:
        for module in wrong:
            module.training = not module.training


def losses(probe: Probe, weights: Tensors, temperature: float = 1.0) -> Iterator[torch.Tensor]:
    """The loss of each batch as a function of `weights`: the caller's, or cross-entropy on logits."""
    if not probe.batches:
        raise UserError("data", "holds no batch")
    loss = cross_entropy if probe.loss is None else probe.loss
    like = next(iter(weights.values()))
    state = state_of(probe, weights)
    for x, y in probe.batches:
        x = x.to(like) if x.is_floating_point() else x.to(like.device)
        with undisturbed(probe.model, batch_statistics=True):
            output = functional_call(probe.model, state, (x,))
        yield loss(output / temperature, y.to(like.device))


def gradient(value: torch.Tensor, weights: Tensors, *, create_graph: bool = False) -> Tensors:
    """d value / d weights; zeros for weights that the value does not depend on."""
    found = torch.autograd.grad(
        value, list(weights.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


def add(total: Tensors | None, part: Tensors) -> Tensors:
    return part if total is None else {name: total[name].add_(part[name]) for name in part}
