"""A study of the user's own pictures: named in config.yaml, built once, built again when a picture comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sparse_ortho.artifacts import read_tensors
from tests.conftest import copy_sources


def picture(path: Path, rng: np.random.Generator, bright: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((rng.integers(0, 128, (9, 8, 3)) + 127 * bright).astype(np.uint8)).save(path)


def test_pictures_from_a_folder_to_a_table_and_again_when_one_comes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 6)):
        for number in range(count):
            for bright, name in enumerate(("dark", "light")):
                picture(tmp_path / "own" / part / name / f"{number}.png", rng, bool(bright))
    checkout = copy_sources_of(tmp_path)
    checkout.edit("config.yaml", "device: cpu", f"device: cpu\npaths: {{image_folder: {tmp_path / 'own'}}}")
    checkout.edit("studies/tiny/study.yaml", "data: digits", "data: {name: image_folder, size: 8, classes: 2}")
    checkout.snakemake()
    (data,) = (checkout.results / "data").glob("*.safetensors")
    arrays, facts = read_tensors(data)
    assert arrays["images"].shape == (52, 3, 8, 8) and facts["facts"]["classes"] == 2
    assert len(arrays["train"]) == 36 and len(arrays["validation"]) == 4 and len(arrays["test"]) == 12
    checkout.events()
    assert "Nothing to be done" in checkout.snakemake().stderr
    picture(tmp_path / "own" / "train" / "dark" / "more.png", rng, False)
    checkout.snakemake()
    assert len(read_tensors(data)[0]["images"]) == 53
    assert checkout.made("train") and not checkout.made("mask")


def copy_sources_of(tmp_path: Path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    return copy_sources(folder)
