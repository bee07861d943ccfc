"""What a training asks of the other processes (ranks) that train the same network with it. Alone, it asks nothing.

    rank r of R takes the rows  r, r + R, r + 2R, ...  of every batch of n rows,   n_r of them
    gradient = sum over r of  (n_r / n) x gradient of the mean loss over its rows = that of the batch, but for rounding

Every rank then takes the same step on the same weights with the same masks. A Part sees the summed gradients on every
rank, and must do the same on each; its own loss, if it brings one, must be a mean over the rows. Noise of the network
itself (dropout) is drawn apart by each rank, from the stream (dropout, rank and step): with it a run differs from that
of one process by these draws. `rank_group.py` is the other half of this: what several ranks do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sparse_ortho.training.state import Run


class Alone:
    """One process: every method hands back what it was given."""

    rank = 0
    size = 1

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This rank's part of the rows of a batch."""
        return rows

    def begin(self, run: Run, resumed: bool) -> bool:
        """Whether the run goes on from a checkpoint: what rank 0 says, and from the same state."""
        return resumed

    def noise(self, run: Run) -> contextlib.AbstractContextManager[None]:
        """Around the forward pass of a step: what the network draws in it is this rank's own."""
        return contextlib.nullcontext()

    def weighed(self, run: Run, loss: torch.Tensor, rows: int) -> torch.Tensor:
        """This rank's addend of the batch's loss."""
        return loss

    def summed(self, run: Run, loss: torch.Tensor, correct: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and correct answers of the whole batch; the gradients become those of the whole batch too."""
        return loss, correct

    def merged(self, scores: list[torch.Tensor], batches: Sequence[int], device: torch.device) -> torch.Tensor:
        """(batches, 2) scores of all of an evaluation, of which this rank has seen its own; batches of each part."""
        return torch.stack(scores) if scores else torch.zeros(0, 2)

    def end_epoch(self, run: Run) -> None:
        """Refuse to go on if the ranks have come apart."""
