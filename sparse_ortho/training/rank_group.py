"""Several ranks as one: the sums over them, and the check that they still hold the same network.

One flat bucket a step is summed with one call: all gradients, the loss and the number of correct answers, so that
every rank knows the curves, and a checkpoint of rank 0 alone is whole. A sum over ranks has the same bits on each of
them. Gradients are summed before float16's scale is taken off, so that all ranks see the same overflow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import distributed as dist

from sparse_ortho.errors import UserError
from sparse_ortho.masks import WORDS
from sparse_ortho.training.checkpoint import restore, state
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.state import Run
from sparse_ortho.training.tree import flatten, unflatten


class Ranks(Alone):
    """The default group of torch.distributed, which exists as long as this object is used."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    def tell(self, thing: Any = None) -> Any:
        """What rank 0 gives, on every rank. Pickled, between processes of one run."""
        box = [thing]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[self.rank :: self.size]

    def begin(self, run: Run, resumed: bool) -> bool:
        saved = self.tell(flatten(state(run)) if resumed else None)
        if saved is not None and self.rank:
            restore(run, unflatten(*saved))
        self.end_epoch(run)
        return saved is not None

    @contextlib.contextmanager
    def noise(self, run: Run) -> Iterator[None]:
        """Afterwards the generators are where they were, alike on all ranks: for parts, and for checkpoints."""
        cuda = run.device.type == "cuda"
        seed = int(run.streams("dropout", f"rank{self.rank}/step{run.clock.steps}").integers(2**63))
        with torch.random.fork_rng([run.device] if cuda else []):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would go through every kind of device
            if cuda:
                torch.cuda.manual_seed(seed)
            yield

    def weighed(self, run: Run, loss: torch.Tensor, rows: int) -> torch.Tensor:
        left = len(run.splits["train"]) - run.clock.step * run.options.batch_size
        return loss * (rows / min(run.options.batch_size, left))

    @torch.no_grad()
    def summed(self, run: Run, loss: torch.Tensor, correct: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
        bucket = torch.cat([*(g.reshape(-1) for g in gradients), torch.stack([loss, correct.to(loss.dtype)])])
        dist.all_reduce(bucket)
        *pieces, counted = bucket.split([*(g.numel() for g in gradients), 2])
        sums = [piece.view(g.shape) for piece, g in zip(pieces, gradients, strict=True)]
        torch._foreach_copy_(gradients, sums)  # pyright: ignore[reportPrivateImportUsage]
        return counted[0].to(loss.dtype, copy=True), counted[1].to(correct.dtype, copy=True)

    def merged(self, scores: list[torch.Tensor], batches: Sequence[int], device: torch.device) -> torch.Tensor:
        whole = torch.zeros(sum(batches), 2, dtype=torch.float64, device=device)
        mine = [start + i for start, n in _spans(batches) for i in range(self.rank, n, self.size)]
        for place, score in zip(mine, scores, strict=True):
            whole[place] = score
        dist.all_reduce(whole)  # every place has one addend that is not 0: nothing is rounded
        return whole

    def end_epoch(self, run: Run) -> None:
        mine = fingerprint(run)
        everybody = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everybody, mine)
        for rank, other in enumerate(everybody):
            if not torch.equal(other, everybody[0]):
                raise UserError("train.ranks", f"rank {rank} no longer holds the weights of rank 0, after {where(run)}")


def fingerprint(run: Run) -> torch.Tensor:
    """The sum of the words of each tensor of the network and of each mask: equal for equal bits, on the device."""
    tensors = [*run.model.state_dict().values(), *(mask.to(run.device) for mask in (run.masks or {}).values())]
    return torch.stack([t.detach().view(WORDS[t.element_size()]).sum(dtype=torch.int64) for t in tensors])


def where(run: Run) -> str:
    return f"epoch {run.clock.epoch}, step {run.clock.step}"


def _spans(batches: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first place and the number of batches of each part."""
    start = 0
    for n in batches:
        yield start, n
        start += n
