"""Masks that a user brings: a file in place of a score, or its layers' densities with positions of one's own.

    mask: {file: masks/imp.safetensors}                                       density and positions are the file's
    mask: {score: random, layers: {name: transplanted, file: masks/imp.npz}}  the numbers of its layers

Paths start at the folder of the project, or are absolute. What enters an identity is the content: the digest of the
file, or the densities that were read from it. The path travels in the job, so a file that has moved is found again, and
makes nothing anew.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparse_ortho import budgets, mask_files
from sparse_ortho.artifacts import digest_file
from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.plan.fields import layer_density

FILE = "file"  # the score of a mask that was read
TRANSPLANTED = "transplanted"
KEYS = (FILE, "nonzero", "repair")


@dataclass(frozen=True)
class Source:
    """What the plan knows of a file of masks."""

    path: str
    digest: str
    counts: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def density(self) -> float:
        kept, size = sum(self.counts.values()), sum(map(math.prod, self.shapes.values()))
        return kept / size


def place_of(path: str) -> Path:
    return ROOT / Path(path).expanduser()


def read(path: Any, nonzero: Any, where: str) -> Source:
    """The file's digest, and the counts and shapes of its masks; read again when it has changed."""
    if not isinstance(path, str) or not path:
        raise UserError(f"{where}.file", "must be the path of a file of masks", found=path)
    if not isinstance(nonzero, bool):
        raise UserError(f"{where}.nonzero", "must be true or false", found=nonzero)
    place = place_of(path)
    if not place.is_file():
        raise UserError(f"{where}.file", "no such file", found=path)
    found = place.stat()
    return _read(path, nonzero, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=64)
def _read(path: str, nonzero: bool, time: int, size: int) -> Source:
    arrays = mask_files.read(place_of(path), nonzero)
    if nonzero:  # a model's state: only linear and convolution weights have a mask
        arrays = {name: array for name, array in arrays.items() if array.ndim > 1}
    if not any(array.any() for array in arrays.values()):
        raise UserError(path, "keeps no weight")
    counts = {_plain(name): int(np.count_nonzero(array)) for name, array in arrays.items()}
    shapes = {_plain(name): tuple(array.shape) for name, array in arrays.items()}
    return Source(path, digest_file(place_of(path)), counts, shapes)


def _plain(name: str) -> str:
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def expand_sources(raw: Mapping[str, Any], where: str) -> tuple[Mapping[str, Any], tuple[Source, ...]]:
    """A cell whose mask names files, with what is in them in their place."""
    mask = raw.get("mask")
    if not isinstance(mask, dict):
        return raw, ()
    if FILE in mask:
        return _whole(raw, mask, f"{where}.mask", where)
    layers = mask.get("layers")
    if isinstance(layers, dict) and layers.get("name") == TRANSPLANTED:
        for key in layers:
            if key not in ("name", FILE, "nonzero"):
                raise UserError(f"{where}.mask.layers.{key}", "unknown key", found=key, allowed=(FILE, "nonzero"))
        source = read(layers.get(FILE), layers.get("nonzero", False), f"{where}.mask.layers")
        sizes = {name: math.prod(shape) for name, shape in source.shapes.items()}
        counts, density = source.counts, raw.get("density")
        if density is not None:
            total = budgets.budget(density, sum(sizes.values()), f"{where}.density")
            counts = budgets.fill(counts, sizes, total)
        if empty := [name for name in sizes if not counts[name]]:
            told = "keeps" if density is None else "at this density leaves"
            raise UserError(f"{where}.mask.layers.file", f"{told} no weight of {empty[0]}", found=source.path)
        given = {name: counts[name] / sizes[name] for name in sizes}
        return {**raw, "density": density or _short(source.density), "mask": {**mask, "layers": given}}, (source,)
    return raw, ()


def _whole(
    raw: Mapping[str, Any], mask: Mapping[str, Any], where: str, cell: str
) -> tuple[Mapping[str, Any], tuple[Source, ...]]:
    for key in mask:
        if key not in KEYS:
            raise UserError(f"{where}.{key}", "a mask from a file has no score and no layers", found=key, allowed=KEYS)
    nonzero = mask.get("nonzero", False)
    source = read(mask[FILE], nonzero, where)
    density = raw.get("density")
    if density is not None and not math.isclose(
        layer_density(density, f"{cell}.density"), source.density, rel_tol=1e-3
    ):
        raise UserError(
            f"{cell}.density", "is the file's, and may be left out", found=density, allowed=f"{source.density:.6g}"
        )
    score = {"name": FILE, "digest": source.digest} | ({"nonzero": True} if nonzero else {})
    kept = {key: value for key, value in mask.items() if key == "repair"}
    expanded = {"score": score, "layers": {"name": "given"}} | kept
    return {**raw, "density": _short(source.density), "mask": expanded}, (source,)


def _short(density: float) -> float:
    return float(f"{density:.6g}")


def files_of(nodes: Iterable[Any]) -> dict[str, str]:
    """Digest -> path of the files that masks are read from."""
    read = [node for node in nodes if node.stage == "mask" and node.spec["mask"]["score"]["name"] == FILE]
    return {source.digest: source.path for node in read for source in node.sources}


def refuse_misfit(sources: tuple[Source, ...], facts: Mapping[str, Any] | None, model: str, where: str) -> None:
    """Masks of other shapes than the model's weights, as far as the plan knows these: in number and form."""
    if facts is None:
        return
    wanted = sorted(tuple(shape) for number, shape in facts["weights"] for _ in range(number))
    for source in sources:
        found = sorted(source.shapes.values())
        if found != wanted:
            odd = next((s for s in found if found.count(s) != wanted.count(s)), None)
            about = f"{len(found)} layers" + (f", among them one of shape {odd}" if odd else "")
            raise UserError(
                f"{where}.mask", f"{source.path} does not fit {model}: it has {about}", allowed=f"{len(wanted)} layers"
            )
