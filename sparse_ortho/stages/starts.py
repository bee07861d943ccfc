"""Networks as they start: initialised by a cell's method, or as a score wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sparse_ortho.data.balanced import balanced
from sparse_ortho.inits.initialize import initialize
from sparse_ortho.masks import maskable
from sparse_ortho.probe import Probe
from sparse_ortho.registry import beside, table
from sparse_ortho.stages.networks import build
from sparse_ortho.stages.options import options_of
from sparse_ortho.streams import Streams
from sparse_ortho.training.losses import cross_entropy
from sparse_ortho.training.resident import few

# Ten classes make one batch. The 2,000 images of Tiny-ImageNet make eight, or the gradients of an EfficientNet would
# take tens of gigabytes; normalisation then sees the statistics of each.
TOGETHER = 250
PER_CLASS = 10  # images of each class that a score sees: GraSP's number, and about SNIP's batch for ten classes
Images = tuple[Mapping[str, Any], Mapping[str, Any]]  # arrays and facts of a data set


def initialised(
    model: torch.nn.Module, masks: Any, method: Mapping[str, Any], streams: Streams, batches: Any = None
) -> Any:
    """The model with new weights, in place; the masks that the initialisation leaves."""
    name, options = options_of(method)
    bias_std = options.pop("bias_std", 0.0)
    told: dict[str, Any] = {"bias_std": bias_std, "batches": batches, "loss": cross_entropy if batches else None}
    return initialize(model, masks, name, streams, options=options, **told)


def probe_for(spec: Mapping[str, Any], streams: Streams, images: Images | None) -> Probe:
    """The model as its scores want to see it: initialised if one reads weights, else on the meta device."""
    needs = {need for name in scores_of(spec) for need in beside("scores", name, "NEEDS", ())}
    model = build(spec, "cpu" if needs else "meta")
    if needs:
        initialised(model, None, spec.get("score_init", {"name": "kaiming"}), streams)
    weights = {name: parameter.detach() for name, parameter in maskable(model).items()}
    batches = few_images(images, streams) if images and "data" in needs else None
    return Probe(model, weights, batches, cross_entropy, tuple(spec["shape"]))


def scores_of(spec: Mapping[str, Any]) -> list[str]:
    """The scores that choose a mask: its own, and one that gives the counts of the layers."""
    names = (spec["mask"]["score"]["name"], spec["mask"]["layers"]["name"])
    return [name for name in names if name in table("scores")]


def few_images(images: Images, streams: Streams) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """PER_CLASS training images of each class, fixed by the seed, in as few equal batches as memory allows."""
    arrays, facts = images
    rows = balanced(arrays["labels"], arrays["train"], PER_CLASS, streams("score", "images"))
    parts = np.array_split(rows, -(-len(rows) // TOGETHER))
    return [few(arrays, facts, part) for part in parts]
