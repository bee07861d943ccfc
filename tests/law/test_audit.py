"""What an audit must find, on eight weights written out and on a store with one thing wrong in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_ortho.artifacts import canonical, digest_arrays, digest_text, write_tensors
from sparse_ortho.stages.auditing.bundles import check_tensors
from sparse_ortho.stages.auditing.entries import check_store
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.auditing.seeds import check_seed, named_rightly
from sparse_ortho.store import Result, Store, key_of

MASK = {"score": {"name": "random"}, "layers": {"name": "erk"}}
SPEC = {"mask": MASK, "density": 0.5}
FOUR = np.array([1, 0, 1, 0, 1, 0, 1, 0], bool)
FIVE = np.array([1, 1, 1, 0, 1, 0, 1, 0], bool)
WEIGHTS = np.array([0.5, 0, -1, 0, 2, 0, 0.25, 0], np.float32)
OFF = np.array([0.5, 1e-30, -1, 0, 2, 0, 0.25, 0], np.float32)
ENV = {"python": "3.11"}


def mask_row(kept: int) -> dict[str, Any]:
    return {"status": "ok", "reason": None, "nonzeros": kept, "weights": 8}


def wrong(stage: str, row: dict[str, Any], spec: dict[str, Any] = SPEC, **arrays: np.ndarray) -> list[str]:
    return list(check_seed(stage, spec, row, {f"{family}/w": array for family, array in arrays.items()}))


def test_a_sound_seed_has_nothing_wrong() -> None:
    init = {"status": "ok", "reason": None, "nonzeros": 4, "layers": [["w", 8, 0.5]]}
    record = {"status": "ok", "nonzeros": 4, "weights": 8}
    assert wrong("mask", mask_row(4), masks=FOUR) == []
    assert wrong("init", init, masks=FOUR, weights=WEIGHTS) == []
    assert wrong("train", {"record": record}, masks=FOUR, weights=WEIGHTS) == []
    assert wrong("mask", {"status": "refused", "reason": "r"}) == []


def test_one_weight_too_many_is_found() -> None:
    assert wrong("mask", mask_row(5), masks=FIVE) == ["keeps 5 weights where density 0.5 of 8 asks for 4"]


@pytest.mark.parametrize("more", [{"structure": {"name": "block"}}, {"layers": {"name": "given"}}])
def test_a_unit_of_its_own_is_not_held_to_single_weights(more: dict[str, Any]) -> None:
    assert wrong("mask", mask_row(5), {"mask": MASK | more, "density": 0.5}, masks=FIVE) == []


def test_a_number_that_is_no_recount_is_found() -> None:
    assert wrong("mask", mask_row(5), masks=FOUR) == ["says nonzeros 5, a recount 4"]
    layers = {"status": "ok", "nonzeros": 4, "layers": [["w", 8, 0.625]]}
    assert wrong("init", layers, masks=FOUR, weights=WEIGHTS) == ["says density 0.625 of w, a recount 0.5"]
    record = {"record": {"status": "ok", "nonzeros": 5, "weights": 8}}
    assert wrong("train", record, masks=FOUR, weights=WEIGHTS) == ["says nonzeros 5, a recount 4"]


def test_a_weight_off_its_mask_is_found_however_small() -> None:
    record = {"record": {"status": "ok", "nonzeros": 4, "weights": 8}}
    assert wrong("train", record, masks=FOUR, weights=OFF) == ["1 weights of w are not 0 where its mask is"]


def entry(store: Store, spec: Any = SPEC, cell: str = "", row: Any = None, mask: np.ndarray = FOUR) -> Path:
    """One mask in the store, by its own means."""
    name = cell or identity(spec)
    about = {"cell": name, "spec": spec, "seed": 0, "code": "c", "env": ENV, "inputs": {}}
    key = key_of("mask", spec, 0, "c", ENV, {})
    store.put("mask", key, Result(row or mask_row(int(mask.sum())), {"masks/w": mask}), about)
    return store.path("mask", key)


def identity(spec: Any) -> str:
    return "digits-" + digest_text(canonical({"stage": "mask", "spec": spec}))[:12]


def looked_at(store: Store) -> list[str]:
    findings = Findings()
    check_store(store, findings)
    assert findings.checked["entries of the store"] == 1
    return findings.wrong


def test_a_sound_entry_has_nothing_wrong(tmp_path: Path) -> None:
    entry(Store(tmp_path))
    assert looked_at(Store(tmp_path)) == []
    assert named_rightly(identity(SPEC), "mask", SPEC) and not named_rightly(identity(SPEC), "init", SPEC)


@pytest.mark.parametrize("file", ["entry.json", "tensors.safetensors"])
def test_a_flipped_bit_of_an_entry_is_found(tmp_path: Path, file: str) -> None:
    path = entry(Store(tmp_path)) / file
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    (sentence,) = looked_at(Store(tmp_path))
    assert "is damaged" in sentence and str(path.parent) in sentence


def test_a_missing_file_of_an_entry_is_found(tmp_path: Path) -> None:
    (entry(Store(tmp_path)) / "tensors.safetensors").unlink()
    assert "is damaged" in looked_at(Store(tmp_path))[0]


def test_an_entry_under_another_key_is_found(tmp_path: Path) -> None:
    folder = entry(Store(tmp_path))
    other = Store(tmp_path).path("mask", "ab" * 32)
    other.parent.mkdir(parents=True)
    shutil.move(folder, other)
    assert "is not what its key says" in looked_at(Store(tmp_path))[0]


def test_an_entry_of_another_name_is_found(tmp_path: Path) -> None:
    entry(Store(tmp_path), cell="digits-000000000000")
    assert "says it is digits-000000000000, which its spec is not" in looked_at(Store(tmp_path))[0]


def test_an_entry_with_a_weight_too_many_is_found(tmp_path: Path) -> None:
    entry(Store(tmp_path), mask=FIVE)
    assert "keeps 5 weights" in looked_at(Store(tmp_path))[0]


def bundle(results: Path, **entry: Any) -> list[str]:
    """A bundle of one mask as a stage writes it, with what differs."""
    name, arrays = identity(SPEC), {"masks/w": entry.pop("mask", FOUR)}
    told = {"row": mask_row(int(arrays["masks/w"].sum())), "inputs": {}, "digest": digest_arrays(arrays)} | entry
    facts = {"stage": "mask", "env": ENV, "cells": {name: {"spec": SPEC, "code": "c", "seeds": {"0": told}}}}
    written = {f"{name}/0/{key}": array for key, array in arrays.items()}
    write_tensors(results / "masks" / "tiny.safetensors", written, json.loads(canonical(facts)))
    findings = Findings()
    check_tensors(results, findings)
    return findings.wrong


def test_a_bundle_is_held_to_the_same_laws(tmp_path: Path) -> None:
    assert bundle(tmp_path) == []
    assert "do not match their digest" in bundle(tmp_path, digest="0" * 64)[0]
    assert "keeps 5 weights" in bundle(tmp_path, mask=FIVE)[0]
    assert "is not what its stage writes" in bundle(tmp_path, row={"status": "ok"})[0]
