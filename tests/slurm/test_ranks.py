"""An ImageNet-shaped run from a folder of pictures to a table, each batch shared by two ranks, as a job of Slurm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Checkout, copy_sources
from tests.slurm.conftest import OnSlurm

STUDY = """
title: Tiny ImageNet-like
paper: A study for tests.
scales:
  tiny:
    seeds: [0]
    cell:
      data: {name: imagenet, classes: 2, size: 16}
      model: {name: resnet, depth: 8, width: 4}
      train: {epochs: 2, batch_size: 8, lr: 0.05, ranks: 2, random_resized: true, flip: true}
"""
TABLE = """
kind: table
title: Accuracy
caption: Accuracy of a tiny network.
category: Accuracy
rows: [mask]
columns: [init]
scales:
  tiny:
    cells:
      - {mask: uniform, density: 0.5, init: kaiming}
"""


def test_two_ranks_train_streamed_pictures_on_slurm_as_they_do_here(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 6)):
        for bright, name in enumerate(("n01", "n02")):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (rng.integers(0, 128, (20, 24, 3)) + 127 * bright).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{number}.JPEG")
    made = {}
    for kind in (OnSlurm, Checkout):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        checkout = kind(copy_sources(folder).folder)
        tiny = checkout.folder / "studies" / "tiny"
        (tiny / "loss.yaml").unlink()
        (tiny / "study.yaml").write_text(STUDY)
        (tiny / "accuracy.yaml").write_text(TABLE)
        checkout.edit("config.yaml", "device: cpu", f"device: cpu\npaths: {{imagenet: {tmp_path / 'pictures'}}}")
        checkout.snakemake()
        made[kind] = checkout.contents("records", "curves", "tables")
        assert len(checkout.made("train")) == 1
    assert made[OnSlurm] == made[Checkout]
