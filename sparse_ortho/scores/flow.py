"""The flow through a network of absolute values: the passes of SynFlow.

    R = 1^T f_|theta|(1)        s = | dR/dp * p |,  p = |theta|

f_|theta| is a copy of the model in evaluation, made once for all rounds of a pruning: every parameter and buffer is
replaced by its absolute value, and a round writes its weights into it. So a round costs a forward and a backward of one
input, a copy and a product (`linears`); a call on the model itself with other tensors (torch.func) takes twice as long
on small networks. The model, its buffers, its flags and the generators stay as they are.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack

import torch
from torch import nn

from sparse_ortho.errors import UserError
from sparse_ortho.masks import plain_name
from sparse_ortho.probe import Probe
from sparse_ortho.scores.linears import Linears
from sparse_ortho.scores.passes import NORMS, Tensors, names

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Hardswish, nn.Softplus, nn.Softsign),
    *(nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.Threshold),
    *(nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin),
)
NORMS_WITHOUT_MEMORY = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


class Flow:
    """The copy, and the parameters of it that scores are asked for, by our names."""

    def __init__(self, probe: Probe, *, linear: bool, double: bool):
        model = copy.deepcopy(probe.model).requires_grad_(False).eval()
        self.model = model.double() if double else model
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
        if linear:
            straighten(self.model)
        known = dict(self.model.named_parameters())
        self.weights = {ours: known[name].requires_grad_() for ours, name in names(probe).items()}
        self.values = [weight.detach() for weight in self.weights.values()]
        self.linears = Linears(self.model, self.weights)
        like = next(iter(self.weights.values()))
        self.ones = torch.ones(1, *input_shape(probe), dtype=like.dtype, device=like.device)
        self.devices = sorted({p.device.index for p in known.values() if p.device.type == "cuda"})

    def scores(self, weights: Tensors, *, logs: bool = False, rescaled: bool = False) -> tuple[Tensors, float]:
        """s of each weight and R; of log-probabilities if `logs`; layers divided by their largest output if asked."""
        with torch.no_grad():
            torch._foreach_copy_(self.values, [weights[name] for name in self.weights])  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_abs_(self.values)  # pyright: ignore[reportPrivateImportUsage]
        with ExitStack() as stack:
            self._keep_generators(stack)
            for path, module in self.model.named_modules() if rescaled else ():
                if plain_name(f"{path}.weight" if path else "weight") in self.weights:
                    hook = module.register_forward_hook(_divide)
                    stack.callback(hook.remove)
            output = self.model(self.ones)
            R = (output.log_softmax(1) if logs else output).sum()
        slopes = self.linears.slopes(R)
        torch._foreach_mul_(slopes, self.values)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_abs_(slopes)  # pyright: ignore[reportPrivateImportUsage]
        return dict(zip(self.weights, slopes, strict=True)), R.item()

    def _keep_generators(self, stack: ExitStack) -> None:
        """As they were, afterwards; fork_rng takes 0.14 ms where there is no other device, as long as a small pass."""
        if self.devices:
            stack.enter_context(torch.random.fork_rng(self.devices))
        else:
            stack.callback(torch.set_rng_state, torch.get_rng_state())


def remembered(probe: Probe, *, linear: bool, double: bool) -> Flow:
    """The copy of this pruning, made in its first round."""
    if probe.memo is None:
        return Flow(probe, linear=linear, double=double)
    if "flow" not in probe.memo:
        probe.memo["flow"] = Flow(probe, linear=linear, double=double)
    return probe.memo["flow"]


def input_shape(probe: Probe) -> tuple[int, ...]:
    if probe.shape is not None:
        return probe.shape
    if not probe.batches:
        raise UserError("scores.synflow", "needs the shape of the network's input; pass data=[(x, y), ...]")
    return tuple(probe.batches[0][0].shape[1:])


def straighten(model: nn.Module) -> None:
    """Activations, and normalisation without stored statistics, become the identity."""
    identity = nn.Identity()
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            forgets = isinstance(child, NORMS) and child.running_mean is None
            if forgets or isinstance(child, (*ACTIVATIONS, *NORMS_WITHOUT_MEMORY)):
                parent._modules[name] = identity


def _divide(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
    largest = output.detach().abs().amax()
    return output / torch.where(largest > 0, largest, 1.0)
