"""`train_seed` by several processes: what rank 0 hands to the others, and what they do with it.

Rank 0 holds the store's lock, the checkpoint, the news and the record. The others get the network, the masks, the
options, the streams, the parts and the data from it, run the same `train_seed`, and write nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from sparse_ortho.devices import prepare
from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams
from sparse_ortho.training.launched import launched
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.rank_group import Ranks
from sparse_ortho.training.rank_processes import BACKENDS, together
from sparse_ortho.training.records import Outcome
from sparse_ortho.training.resident import Split
from sparse_ortho.training.synced_norm import synced_norms


@dataclasses.dataclass(frozen=True)
class Work:
    """What a rank is asked to train. It is told without the images, which follow, each part's in one tensor."""

    model: torch.nn.Module
    splits: Mapping[str, Split]
    masks: Mapping[str, torch.Tensor] | None
    options: TrainOptions
    streams: Streams
    parts: Sequence[Part]


def train_together(
    model: torch.nn.Module,
    splits: Mapping[str, Split],
    masks: Mapping[str, torch.Tensor] | None,
    options: TrainOptions,
    streams: Streams,
    device: torch.device,
    *,
    folder: Path,
    parts: Sequence[Part] = (),
    backend: str = "",
    **mine: Any,
) -> Outcome:
    """`train_seed` by `options.ranks` processes, of which this is the first; `mine` are its checkpoint and its news."""
    refuse(options, len(splits["train"]), device, backend)
    with together(options.ranks, device.type, backend or BACKENDS[device.type], folder, serve) as ranks:
        return lead(ranks, Work(model, splits, masks, options, streams, parts), device, **mine)


def lead(ranks: Ranks, work: Work, device: torch.device, **mine: Any) -> Outcome:
    """Train as rank 0, with the ranks that wait in `serve`."""
    ranks.tell(dataclasses.replace(work, splits={name: outline(split) for name, split in work.splits.items()}))
    for split in work.splits.values():
        sent(split.images)
    return train(ranks, work, device, **mine)


def serve(ranks: Ranks, device: torch.device) -> None:
    """Train what rank 0 asks for, until it is gone."""
    while True:
        try:
            work = ranks.tell()
        except RuntimeError:
            return
        follow(ranks, work, device)


def follow(ranks: Ranks, work: Work, device: torch.device) -> None:
    """Train as another rank than 0 what `lead` has told."""
    prepare(device.type, work.options.threads)
    splits = {name: filled(split, device) for name, split in work.splits.items()}
    train(ranks, dataclasses.replace(work, splits=splits), device)


def train(ranks: Ranks, work: Work, device: torch.device, **mine: Any) -> Outcome:
    given = (work.model, work.splits, work.masks, work.options, work.streams, device)
    with synced_norms(work.model):
        return train_seed(*given, parts=work.parts, ranks=ranks, **mine)


def refuse(options: TrainOptions, images: int, device: torch.device, backend: str) -> None:
    """What several ranks cannot train, before any of them is started."""
    rest = 0 if options.drop_last else images % options.batch_size
    smallest = min(images, rest or options.batch_size)
    if smallest < options.ranks:
        raise UserError("train.ranks", f"more than the {smallest} images of the smallest batch", found=options.ranks)
    if device.type not in BACKENDS:
        raise UserError("train.ranks", "not possible on this device", found=device.type, allowed=BACKENDS)
    there = torch.cuda.device_count()
    if device.type == "cuda" and not backend and launched() is None and there < options.ranks:
        raise UserError("train.ranks", f"one CUDA device a rank is needed, {there} found", found=options.ranks)


def outline(split: Split) -> Split:
    """A part without the content of its images."""
    images = split.images.to("meta") if isinstance(split.images, torch.Tensor) else split.images
    mean, std, y = (tensor.cpu() for tensor in (split.mean, split.std, split.y))
    return dataclasses.replace(split, images=images, y=y, mean=mean, std=std)


def filled(outlined: Split, device: torch.device) -> Split:
    images = outlined.images
    if isinstance(images, torch.Tensor):
        images = torch.empty_like(images, device=device)
        sent(images)
    mean, std, y = (tensor.to(device) for tensor in (outlined.mean, outlined.std, outlined.y))
    return dataclasses.replace(outlined, images=images, y=y, mean=mean, std=std)


def sent(images: object) -> None:
    """From rank 0 to all."""
    if isinstance(images, torch.Tensor) and images.numel():
        dist.broadcast(images, src=0)
