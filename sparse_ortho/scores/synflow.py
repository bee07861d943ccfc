"""SynFlow, iterative synaptic flow pruning (Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020, arXiv 2006.05467, alg. 1).

    R = 1^T f_|theta|(1)        s = | dR/dp * p |,  p = |theta|        higher score = keep

f_|theta| is the network with every parameter and buffer replaced by its absolute value, on an input of ones, up to the
logits. In round r of `rounds` the best density^((r+1)/rounds) of all weights stay; `prune` runs the rounds.

Activations are the identity, a final softmax too: the paper's are homogeneous and see no negative value, whereas tanh
and hard_tanh saturate at these inputs (derivative 0, all scores 0). Only modules of torch.nn are seen: a functional
activation in somebody's forward stays, which is harmless for relu. BatchNorm divides by its stored statistics, as in
the paper's code: those of one input of ones would cancel it. Normalisation that stores none is therefore left out.

Not from the paper: the above, float64 (ResNet-56 overflows float32), and a second way for deep plain networks, whose R
leaves float64 too (5^1000): there each layer's output is divided by its largest entry, which multiplies all scores by
one number as long as all flow passes every layer. This is so if sum(s) of each layer is R, and else refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.func import functional_call

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.scores.passes import NORMS, Tensors, gradient, names, rest, undisturbed
from sparse_ortho.streams import Streams

NEEDS = ("weights",)
PATH = "exponential"

SMALLEST = 1e-250  # of R; below it single scores would lose digits, or vanish
ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Hardswish, nn.Softplus, nn.Softsign),
    *(nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.Threshold),
    *(nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin),
)
NORMS_WITHOUT_MEMORY = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@torch.enable_grad()
def synflow(probe: Probe, streams: Streams, *, rounds: int = 100) -> Tensors:
    """The flow through each weight, in float64: the scores of one round."""
    scores, R = _flow(probe, rescaled=False)
    if not SMALLEST < R < math.inf:
        scores, R = _flow(probe, rescaled=True)
        for name, score in scores.items():
            if not math.isclose(score.sum().item(), R, rel_tol=1e-6):
                raise UserError(name, "the flow of this network leaves float64, and it has biases or skips around here")
    return scores


def _flow(probe: Probe, *, rescaled: bool) -> tuple[Tensors, float]:
    p = {name: weight.detach().double().abs().requires_grad_() for name, weight in probe.weights.items()}
    fixed = {name: t.double().abs() if t.is_floating_point() else t for name, t in rest(probe).items()}
    state = {**fixed, **{name: p[ours] for ours, name in names(probe).items()}}
    ones = torch.ones(1, *_input_shape(probe), dtype=torch.float64, device=next(iter(p.values())).device)
    with ExitStack() as stack:
        stack.enter_context(undisturbed(probe.model, batch_statistics=False))
        stack.enter_context(_linear(probe.model))
        for path, module in probe.model.named_modules() if rescaled else ():
            if plain_name(f"{path}.weight" if path else "weight") in p:
                stack.enter_context(module.register_forward_hook(_divide))
        R = functional_call(probe.model, state, (ones,)).sum()
    slope = gradient(R, p)
    return {name: slope[name].mul_(p[name].detach()).abs_() for name in p}, R.item()


def _divide(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
    largest = output.detach().abs().amax()
    return output / torch.where(largest > 0, largest, 1.0)


def _input_shape(probe: Probe) -> tuple[int, ...]:
    if probe.shape is not None:
        return probe.shape
    if not probe.batches:
        raise UserError("scores.synflow", "needs the shape of the network's input; pass data=[(x, y), ...]")
    return tuple(probe.batches[0][0].shape[1:])


@contextmanager
def _linear(model: nn.Module) -> Iterator[None]:
    """Activations, and normalisation without stored statistics, are the identity inside the block."""
    places = [(parent, name, child) for parent in model.modules() for name, child in parent._modules.items()]
    nonlinear = [place for place in places if _is_nonlinear(place[2])]
    identity = nn.Identity()
    try:
        for parent, name, _ in nonlinear:
            parent._modules[name] = identity
        yield
    finally:
        for parent, name, child in nonlinear:
            parent._modules[name] = child


def _is_nonlinear(module: nn.Module | None) -> bool:
    forgets = isinstance(module, NORMS) and module.running_mean is None
    return forgets or isinstance(module, (*ACTIVATIONS, *NORMS_WITHOUT_MEMORY))
