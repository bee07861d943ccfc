"""The gradients of several networks of one shape by one batched product a layer.

    forward    Z_l[s] = H_{l-1}[s] W_l[s]^T + b_l[s],   H_l[s] = f(Z_l[s])         s = 1..S networks with a batch each
    backward   D_L[s] = dL[s] / dZ_L[s],   D_{l-1}[s] = (D_l[s] W_l[s]) f'(Z_{l-1}[s])
               dL[s] / dW_l[s] = D_l[s]^T H_{l-1}[s],   dL[s] / db_l[s] = sum of the rows of D_l[s]

Not from a paper. Weights of the networks become views of one tensor a layer, (S, outputs, inputs), so an optimizer of
each network moves them as before. Whether a batched product rounds as single ones do depends on shapes and on the
library, not on the numbers: `agrees` compares both once, with random ones.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from sparse_ortho.models.mlp import MLP
from sparse_ortho.training.losses import cross_entropy

ALIGNED = 16  # float32 in 64 bytes, where torch begins a tensor: the products of an evaluation may depend on it
ATEN = torch.ops.aten
Slope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SLOPES: dict[type[nn.Module], Slope] = {  # (D W, H) -> (D W) f', as autograd computes it
    nn.Identity: lambda grad, _: grad,
    nn.ReLU: lambda grad, out: ATEN.threshold_backward(grad, out, 0),
    nn.Tanh: ATEN.tanh_backward,
}


def can_stack(model: nn.Module) -> bool:
    """Whether this is a network that the formulas above are the whole of."""
    return (
        type(model) is MLP
        and model.dropout is None
        and linears(model)[-1].out_features > 1  # one logit stands for two, and is another loss
        and all(type(activation) in SLOPES for activation in model.activations)
    )


def linears(model: MLP) -> list[nn.Linear]:
    return [cast(nn.Linear, layer) for layer in model.layers]


class Stack:
    def __init__(self, models: Sequence[MLP]):
        self.activations = list(models[0].activations)
        self.slopes = [SLOPES[type(activation)] for activation in self.activations]
        each = [linears(model) for model in models]
        self.weights = [joined([layer.weight for layer in layers]) for layers in zip(*each, strict=True)]
        self.biases = [joined([layer.bias for layer in layers]) for layers in zip(*each, strict=True)]
        self.grads = [(torch.empty_like(w).contiguous(), torch.empty_like(b).contiguous()) for w, b in self._layers()]
        for s, model in enumerate(models):
            for layer, (weight, bias) in zip(linears(model), self.grads, strict=True):
                layer.weight.grad, layer.bias.grad = weight[s], bias[s]  # written over by every step

    def _layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(zip(self.weights, self.biases, strict=True))

    @torch.no_grad()
    def gradients(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the mean loss of each network over its batch, x (S, batch, ...), y (S, batch); these means, and how many
        of each batch were classified right."""
        h = x.flatten(2)
        seen = [h]
        for i, (weight, bias) in enumerate(self._layers()):
            h = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))
            if i < len(self.activations):
                h = self.activations[i](h)
                seen.append(h)
        logp = F.log_softmax(h, 2)
        means = torch.stack([F.nll_loss(*one) for one in zip(logp, y, strict=True)])
        right = (h.argmax(2) == y).sum(1)
        grad = torch.zeros_like(logp).scatter_(2, y.unsqueeze(2), -1 / y.shape[1])
        self._backward(ATEN._log_softmax_backward_data(grad, logp, 2, logp.dtype), seen)
        return means, right

    def _backward(self, grad: torch.Tensor, seen: Sequence[torch.Tensor]) -> None:
        for i in reversed(range(len(self.weights))):
            torch.bmm(grad.transpose(1, 2), seen[i], out=self.grads[i][0])
            torch.sum(grad, 1, out=self.grads[i][1])
            if i:
                grad = self.slopes[i - 1](torch.bmm(grad, self.weights[i]), seen[i])


def joined(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """One tensor with the values of all, of which they become views."""
    size = parameters[0].numel()
    padded = -(-size // ALIGNED) * ALIGNED
    values = torch.zeros(len(parameters), padded, dtype=parameters[0].dtype)[:, :size]
    values = values.unflatten(1, parameters[0].shape)
    for parameter, view in zip(parameters, values, strict=True):
        view.copy_(parameter.detach())
        parameter.data = view
    return values


def agrees(models: Sequence[MLP], batch: int, shape: Sequence[int], evaluated: Sequence[int] = ()) -> bool:
    """Whether losses and gradients of such networks on batches of this size are those of autograd, bit for bit, and
    whether the networks still compute what they did on `evaluated` images at once.

    Numbers decide nothing but the sign of a zero, so the second look is at a network with many: inputs and units that
    are 0 in the whole batch, and units so large that nothing comes back through a tanh.
    """
    draw = torch.Generator().manual_seed(0)  # no result depends on it
    return all(_agrees(models, batch, shape, evaluated, zeros, draw) for zeros in (False, True))


def _agrees(
    models: Sequence[MLP],
    batch: int,
    shape: Sequence[int],
    evaluated: Sequence[int],
    zeros: bool,
    draw: torch.Generator,
) -> bool:
    copies = [copy.deepcopy(model) for model in models]
    for layer in (layer for model in copies for layer in linears(model)):
        for parameter in (layer.weight.data, layer.bias.data):
            parameter.normal_(0, 1 / math.sqrt(layer.in_features), generator=draw)
            if zeros:
                parameter[::3] = 0
                parameter[1::3] *= 100
    x = torch.randn(len(copies), batch, *shape, generator=draw)
    if zeros:
        x.flatten(2)[..., ::3] = 0
    y = torch.randint(linears(copies[0])[-1].out_features, (len(copies), batch), generator=draw)
    looks = [torch.randn(size, *shape, generator=draw) for size in sorted({*evaluated} - {0})]
    alone = [tensor for i, model in enumerate(copies) for tensor in _alone(model, x[i], y[i], looks)]
    means, right = Stack(copies).gradients(x, y)
    together = [t for i, model in enumerate(copies) for t in _found(model, means[i], right[i], looks)]
    return all(torch.equal(bits(a), bits(b)) for a, b in zip(alone, together, strict=True))


def bits(values: torch.Tensor) -> torch.Tensor:
    """What +0 and -0 differ in."""
    return values.contiguous().view(torch.int32) if values.dtype == torch.float32 else values


def _alone(model: MLP, x: torch.Tensor, y: torch.Tensor, looks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    logits = model(x.clone())  # begins where a tensor of its own begins
    loss = cross_entropy(logits, y)
    loss.backward()
    return _found(model, loss.detach(), (logits.argmax(1) == y).sum(), looks)


def _found(model: MLP, mean: torch.Tensor, right: torch.Tensor, looks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        seen = [model(look) for look in looks]
    return [mean, right, *(p.grad for p in model.parameters() if p.grad is not None), *seen]
