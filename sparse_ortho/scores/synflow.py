"""SynFlow, iterative synaptic flow pruning (Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020, arXiv 2006.05467, alg. 1).

    R = 1^T f_|theta|(1)        s = | dR/dp * p |,  p = |theta|        higher score = keep

f_|theta| is the network with every parameter and buffer replaced by its absolute value, on an input of ones, up to the
logits. In round r of `rounds` the best density^((r+1)/rounds) of all weights stay; `prune` runs the rounds. The path is
the paper's, exponential, or one of three others.

Activations are the identity, a final softmax too: the paper's are homogeneous and see no negative value, whereas tanh
and hard_tanh saturate at these inputs (derivative 0, all scores 0). Only modules of torch.nn are seen: a functional
activation in somebody's forward stays, which is harmless for relu. BatchNorm divides by its stored statistics, as in
the paper's code: those of one input of ones would cancel it. Normalisation that stores none is therefore left out.

Not from the paper: the above, float64 (ResNet-56 overflows float32), and a second way for deep plain networks, whose R
leaves float64 too (5^1000): there each layer's output is divided by its largest entry, which multiplies all scores by
one number as long as all flow passes every layer. This is so if sum(s) of each layer is R, and else refused.
`synflow@as_released` is the program of Nowak et al. (ICML 2024): the model's own type and activations, and R of
log-probabilities, whose slope is 1 - classes * softmax in place of 1. Where activations saturate all its scores are 0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

from sparse_ortho.errors import UserError
from sparse_ortho.probe import Probe
from sparse_ortho.scores.flow import remembered
from sparse_ortho.scores.passes import Tensors
from sparse_ortho.streams import Streams

NEEDS = ("weights",)

SMALLEST = 1e-250  # of R; below it single scores would lose digits, or vanish


@torch.enable_grad()
def synflow(
    probe: Probe,
    streams: Streams,
    *,
    rounds: int = 100,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
) -> Tensors:
    """The flow through each weight, in float64: the scores of one round."""
    flow = remembered(probe, linear=True, double=True)
    scores, R = flow.scores(probe.weights)
    if not SMALLEST < R < math.inf:
        scores, R = flow.scores(probe.weights, rescaled=True)
        for name, score in scores.items():
            if not math.isclose(score.sum().item(), R, rel_tol=1e-6):
                raise UserError(name, "the flow of this network leaves float64, and it has biases or skips around here")
    return scores


@torch.enable_grad()
def synflow_as_released(
    probe: Probe,
    streams: Streams,
    *,
    rounds: int = 100,
    path: Literal["cosine", "cubic", "exponential", "linear"] = "exponential",
    log_softmax: bool = True,
) -> Tensors:
    """| dR/dp * p | of the network as it is, with R of log-probabilities, or of logits."""
    flow = remembered(probe, linear=False, double=False)
    return flow.scores(probe.weights, logs=log_softmax)[0]
