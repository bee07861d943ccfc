"""Several seeds of one cell trained side by side, each as `train_seed` would train it alone, bit for bit.

A seed keeps all that is its own: order of images, masks, optimizer, clock, checkpoint, curves. Only gradients are
computed together (stacked.py), and only where that was seen to give the same bits: else one after the other. Seeds that
stand at different steps, because a kill came between their checkpoints, wait for each other; one that diverges leaves.

It is worth it where a step is mostly the start of small kernels: 3 seeds of MLPs 64 wide on digits take 1.7 times as
many steps a second, 100 wide 1.4 times, the networks of MNIST 1.1 times (benchmarks/batched_seeds.py). So a step of
WORTH products of a weight and an image is the most that is batched; larger networks keep each seed as it is finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from sparse_ortho.models.mlp import MLP
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer, rng_state, set_rng_state
from sparse_ortho.training.evaluate import batch_size
from sparse_ortho.training.feed import feed
from sparse_ortho.training.loop import begun, end_epoch, finished, stepped, unfinished
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.progress import News
from sparse_ortho.training.records import Outcome
from sparse_ortho.training.resident import Split
from sparse_ortho.training.stacked import Stack, agrees, can_stack
from sparse_ortho.training.state import Run
from sparse_ortho.training.step import advance, train_step

WORTH = 4_000_000  # weights x images of a batch: 7 layers of 100 on digits have 3.7 million, on MNIST 16 million
PLAIN = {"precision": "float32", "ranks": 1, "compile": False, "channels_last": False, "ema": 0.0}
PLAIN |= {"label_smoothing": 0.0}


def worth_it(model: torch.nn.Module, options: TrainOptions) -> bool:
    """Whether seeds of this network are batched, on the CPU and without parts; the model may be without memory."""
    small = sum(p.numel() for p in model.parameters()) * options.batch_size <= WORTH
    return small and can_stack(model) and all(getattr(options, name) == value for name, value in PLAIN.items())


@dataclass(frozen=True)
class Seed:
    """What one seed brings: the arguments of `train_seed` that are not the cell's."""

    model: torch.nn.Module
    masks: Mapping[str, torch.Tensor] | None
    streams: Streams
    checkpoint: Checkpointer | None = None
    news: News | None = None


@dataclass
class Side:
    """A seed that has begun."""

    seed: Seed
    run: Run
    generator: dict[str, torch.Tensor]  # torch's, as this run has it: nothing draws from it, but checkpoints hold it


def train_seeds(
    seeds: Sequence[Seed], splits: Mapping[str, Split], options: TrainOptions, device: torch.device
) -> list[Outcome]:
    sides = []
    for seed in seeds:
        given = (seed.model, splits, seed.masks, options, seed.streams, device)
        sides.append(Side(seed, begun(*given, checkpoint=seed.checkpoint), rng_state(device)))
        if seed.news:
            seed.news.begin(sides[-1].run)
    group = Group()
    while going := [side for side in sides if unfinished(side.run)]:
        first = min((side.run.clock.epoch, side.run.clock.step) for side in going)
        here = [side for side in going if (side.run.clock.epoch, side.run.clock.step) == first]
        train_epoch(group, here, sides)
    return [finished(side.run) for side in sides]


def train_epoch(group: Group, here: Sequence[Side], sides: Sequence[Side]) -> None:
    """The rest of an epoch of the seeds that stand at one step."""
    group.of([side.run for side in here])
    for batches in zip(*(feed(side.run) for side in here), strict=True):
        group.step(batches)
        for side in here:
            if side.seed.news:
                side.seed.news.after_step(side.run)
        save(sides)
    for side in here:
        stepped(side.run)
        end_epoch(side.run, side.seed.news)
    save(sides)


def save(sides: Sequence[Side]) -> None:
    """What is due; all of them, before the process leaves, if somebody asked it to."""
    kept = [(side, side.seed.checkpoint) for side in sides if side.seed.checkpoint]
    asked = [checkpoint.stopping for _, checkpoint in kept if checkpoint.stopping.asked is not None]
    for side, checkpoint in kept:
        if asked or checkpoint.due():
            set_rng_state(side.generator, side.run.device)
            checkpoint.save(side.run)
    if asked:
        asked[0].leave()


@dataclass
class Group:
    """The runs that move together, and which sizes of batches they may share."""

    runs: list[Run] = field(default_factory=list)
    stack: Stack | None = None
    agreed: dict[tuple[int, int], bool] = field(default_factory=dict)  # (runs, batch) -> bits are equal

    def of(self, runs: list[Run]) -> None:
        if [id(run) for run in runs] != [id(run) for run in self.runs]:
            self.runs, self.stack = runs, None

    def step(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        if not self._together(len(batches[0][1])):
            for run, (x, y) in zip(self.runs, batches, strict=True):
                train_step(run, x, y)
            self.stack = None
            return
        if self.stack is None:
            self.stack = Stack(self._models())
        x, y = (torch.stack(kind) for kind in zip(*batches, strict=True))
        for run, mean, right in zip(self.runs, *self.stack.gradients(x, y), strict=True):
            for group in run.optimizer.param_groups:
                group["lr"] = run.clock.lr
            advance(run, mean, right)

    def _together(self, batch: int) -> bool:
        here = (len(self.runs), batch)
        if here not in self.agreed:
            splits = self.runs[0].splits
            looks = [size for split in splits.values() for size in sizes(split)]
            shape = splits["train"].shape
            self.agreed[here] = here[0] > 1 and agrees(self._models(), batch, shape, looks)
        return self.agreed[here]

    def _models(self) -> list[MLP]:
        return [cast(MLP, run.model) for run in self.runs]


def sizes(split: Split) -> set[int]:
    """Of the batches in which an evaluation looks at a part."""
    most: Any = batch_size(split)
    return {min(most, len(split)), len(split) % most}
