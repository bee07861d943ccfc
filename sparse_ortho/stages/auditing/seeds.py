"""The laws that one seed of a stage must obey, whether it lies in the store or in an artifact.

identity = slug + 12 hex of sha256(stage, spec)              what something says it is names it
|M| = budget(density, N)                                     of a mask without a unit of its own
w (1 - M) = 0                                                exactly, at the start and after training
row = recount                                                every number of weights that a row states
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sparse_ortho.artifacts import canonical, digest_text
from sparse_ortho.budgets import budget
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.bundle import split

Arrays = Mapping[str, np.ndarray]


def named_rightly(identity: str, stage: str, spec: Any) -> bool:
    """Whether an identity is the digest of its spec."""
    return identity.endswith("-" + digest_text(canonical({"stage": stage, "spec": spec}))[:12])


def check_seed(stage: str, spec: Mapping[str, Any], row: Mapping[str, Any], arrays: Arrays) -> Iterator[str]:
    """What is wrong with a seed, by recount of its tensors."""
    masks, weights = dict(split(arrays, "masks")), dict(split(arrays, "weights"))
    state = row.get("record", row) if stage == "train" else row
    if state.get("status") != "ok":
        if stage != "train" and arrays:  # what diverged keeps its weights
            yield f"is {state.get('status')}, and yet has tensors"
        return
    kept, size = sum(int(mask.sum()) for mask in masks.values()), sum(mask.size for mask in masks.values())
    if stage == "mask":
        yield from _asked(spec, row, kept, size)
    if stage == "init" or stage == "ticket":
        yield from _stated(row, "nonzeros", sum(int(np.count_nonzero(weights[n])) for n, *_ in row["layers"]))
        yield from _layers(row, masks)
    if stage == "ticket":
        yield from _stated(row, "kept", kept)
    if stage == "train" and masks:
        yield from _stated(state, "nonzeros", kept)
        yield from _stated(state, "weights", size)
    for name, mask in masks.items():
        if name in weights and (off := int(np.count_nonzero(weights[name][~mask]))):
            yield f"{off} weights of {name} are not 0 where its mask is"


def _asked(spec: Mapping[str, Any], row: Mapping[str, Any], kept: int, size: int) -> Iterator[str]:
    yield from _stated(row, "nonzeros", kept)
    yield from _stated(row, "weights", size)
    asked = budget(spec["density"], size)
    if exact(spec["mask"]) and kept != asked:
        yield f"keeps {kept} weights where density {spec['density']} of {size} asks for {asked}"


def exact(mask: Mapping[str, Any]) -> bool:
    """Whether a mask meets the budget of its density to the weight: units, files and released programs may not."""
    layers, score = mask["layers"]["name"], mask["score"]["name"]
    return "structure" not in mask and layers != "given" and score != "file" and "@" not in layers + score


def _layers(row: Mapping[str, Any], masks: Arrays) -> Iterator[str]:
    for name, size, density in row["layers"]:
        found = float(masks[name].mean()) if name in masks else 1.0
        if found != density or (name in masks and masks[name].size != size):
            yield f"says density {density:.6g} of {name}, a recount {found:.6g}"


def _stated(row: Mapping[str, Any], name: str, counted: int) -> Iterator[str]:
    if row[name] != counted:
        yield f"says {name} {row[name]}, a recount {counted}"


def report(findings: Findings, where: object, found: Iterator[str]) -> None:
    """Every violation with its place; a row or tensor that is not as a stage writes it is one as well."""
    try:
        for problem in found:
            findings.expect(False, where, problem)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        findings.expect(False, where, f"is not what its stage writes ({type(error).__name__}: {error})")
