"""One optimizer step on one batch."""

from __future__ import annotations

import torch

from sparse_ortho.masks import plain_name
from sparse_ortho.training.losses import cross_entropy, logits_of
from sparse_ortho.training.state import Run


def train_step(run: Run, x: torch.Tensor, y: torch.Tensor) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = run.clock.lr
    advance(run, *gradient(run, x, y))


def gradient(run: Run, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Leaves the gradient of the mean loss in the parameters; this mean, and how many images were classified right."""
    options = run.options
    with run.ranks.noise(run), run.precision.passes():
        logits = logits_of(run.forward(x))
    loss = next((own for part in run.parts if (own := part.loss(logits, y)) is not None), None)
    if loss is None:
        loss = cross_entropy(logits, y, alpha=options.label_smoothing, over=options.smoothing)
    loss = run.ranks.weighed(run, loss, len(y))
    run.optimizer.zero_grad(set_to_none=True)
    run.precision.backward(loss)
    right = (logits.detach().argmax(1) == y).sum()
    return run.ranks.summed(run, loss.detach(), right)


def advance(run: Run, mean: torch.Tensor, right: torch.Tensor) -> None:
    """The step, once its gradient is there."""
    run.precision.unscale(run.optimizer)
    for part in run.parts:
        part.before_step(run)
    if run.options.clip_norm:
        clip(run, run.options.clip_norm)
    if run.precision.step(run.optimizer):
        for part in run.parts:
            part.after_step(run)
    run.losses.append(mean)
    run.correct.append(right)
    run.clock.end_step()


@torch.no_grad()
def clip(run: Run, most: float) -> None:
    """Scale the gradient to a norm of at most `most`. Masked weights do not count: their gradient moves nothing."""
    masks = run.masks or {}
    named = [(plain_name(name), p.grad) for name, p in run.model.named_parameters() if p.grad is not None]
    named += [("", p.grad) for p in run.extra if p.grad is not None]  # no mask has that name
    if not named:  # a rule put an update of its masks in the place of this step
        return
    acting = [grad * masks[name].to(grad.device) if name in masks else grad for name, grad in named]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(acting)))  # pyright: ignore[reportPrivateImportUsage]
    factor = (most / norm).clamp_max(1.0)
    torch._foreach_mul_([grad for _, grad in named], factor)  # pyright: ignore[reportPrivateImportUsage]
