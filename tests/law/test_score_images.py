"""What a score sees of a data set: images of every class, in batches that fit, and tables with one logit too."""

from __future__ import annotations

import numpy as np
import torch

from sparse_ortho.prune import choose
from sparse_ortho.stages.starts import TOGETHER, few_images, probe_for
from sparse_ortho.streams import Streams


def pictures(classes: int):
    rng, n = np.random.default_rng(0), 12 * classes
    arrays = {"images": rng.integers(0, 256, (n, 1, 4, 4)).astype(np.uint8), "labels": np.arange(n) % classes}
    facts = {"shape": (1, 4, 4), "classes": classes, "mean": (0.5,), "std": (0.5,), "scale": 255.0}
    return arrays | {"train": np.arange(n), "validation": np.arange(0), "test": np.arange(0)}, facts


def test_ten_classes_are_one_balanced_batch() -> None:
    ((x, y),) = few_images(pictures(10), Streams(0))
    assert x.shape == (100, 1, 4, 4) and torch.bincount(y).tolist() == [10] * 10


def test_many_classes_are_equal_batches_that_fit_and_are_balanced_together() -> None:
    batches = few_images(pictures(60), Streams(0))
    assert [len(y) for _, y in batches] == [200, 200, 200] and TOGETHER >= 200
    assert torch.bincount(torch.cat([y for _, y in batches])).tolist() == [10] * 60


def test_a_network_with_one_logit_is_scored_by_its_binary_loss() -> None:
    rng = np.random.default_rng(1)
    arrays = {"images": rng.standard_normal((40, 6)).astype(np.float32), "labels": np.arange(40) % 2}
    arrays |= {"train": np.arange(40), "validation": np.arange(0), "test": np.arange(0)}
    facts = {"shape": (6,), "classes": 1, "mean": (0.0,), "std": (1.0,), "scale": 1.0}
    mask = {"score": {"name": "snip"}, "layers": {"name": "global"}}
    spec = {"model": {"name": "mlp", "depth": 2, "width": 5}, "shape": [6], "classes": 1, "mask": mask}
    probe = probe_for(spec, Streams(0), (arrays, facts))
    masks = choose(probe, 0.5, score="snip", layers="global", streams=Streams(0))
    assert sum(int(mask.sum()) for mask in masks.values()) == 18  # half of 6 x 5 + 5, rounded up
    assert len(set(torch.cat([m.flatten() for m in masks.values()]).tolist())) == 2
