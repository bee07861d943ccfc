"""Cross-entropy with label smoothing, for C classes with C logits and for two classes with one.

    uniform (torch; NVIDIA's ResNet-50):  q_true = 1 - a + a / C,   q_other = a / C
    others  (ToST):                       q_true = 1 - a,           q_other = a / (C - 1)
    loss = - sum_c q_c log p_c,  mean over the batch

"others" is "uniform" with a C / (C - 1) in the place of a. One logit z means the two logits (0, z): binary
cross-entropy. Losses that are reported for validation and test are never smoothed.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from sparse_ortho.errors import UserError


def logits_of(outputs: torch.Tensor) -> torch.Tensor:
    """(batch, classes) in float32 or wider, whatever the precision of the network."""
    outputs = outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
    return torch.cat([torch.zeros_like(outputs), outputs], 1) if outputs.shape[1] == 1 else outputs


def cross_entropy(
    outputs: torch.Tensor, y: torch.Tensor, *, alpha: float = 0.0, over: str = "uniform", reduction: str = "mean"
) -> torch.Tensor:
    logits = logits_of(outputs)
    return F.cross_entropy(logits, y, label_smoothing=torch_alpha(alpha, over, logits.shape[1]), reduction=reduction)


def torch_alpha(alpha: float, over: str, classes: int) -> float:
    """What torch must be told."""
    converted = alpha * classes / (classes - 1) if over == "others" else alpha
    if converted > 1:
        most = (classes - 1) / classes
        raise UserError("train.label_smoothing", f"too much for {classes} classes", found=alpha, allowed=f"[0, {most}]")
    return converted
