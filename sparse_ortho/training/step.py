"""One optimizer step on one batch, and the optimizer."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.state import Run


def optimizer(options: TrainOptions, model: torch.nn.Module) -> torch.optim.Optimizer:
    """One group with all parameters. One fused kernel where there is one: 0.38 ms a step of the 7x64 MLP on a CPU
    thread, 0.43 ms with foreach."""
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.SGD(
        model.parameters(),
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov and options.momentum > 0,
        weight_decay=options.weight_decay,
        fused=fused,
        foreach=not fused,
    )


def train_step(run: Run, x: torch.Tensor, y: torch.Tensor) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = run.clock.lr
    logits = run.model(x)
    loss = next((own for part in run.parts if (own := part.loss(logits, y)) is not None), None)
    if loss is None:
        loss = F.cross_entropy(logits, y)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for part in run.parts:
        part.before_step(run)
    run.optimizer.step()
    for part in run.parts:
        part.after_step(run)
    run.losses.append(loss.detach())
    run.correct.append((logits.detach().argmax(1) == y).sum())
    run.clock.end_step()
