"""Artifacts of tensors: data sets, masks, initialisations, levels of ladders and trained weights, by recount.

Each seed matches the digest beside it, obeys the laws of its stage, and has read what the artifacts now hold: the
digest of its mask is that of a mask that is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import digest_arrays, read_tensors
from sparse_ortho.plan import paths
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.auditing.seeds import Arrays, check_seed, named_rightly, report
from sparse_ortho.store import UNREADABLE

STAGES = ("mask", "init", "ticket")
ROLES = {stage: stage for stage in ("data", *STAGES)} | {"signs": "ticket"}  # role of an input -> its stage
Digests = dict[tuple[str, str, int | None], set[str]]  # stage, cell, seed -> digests of what lies there


def check_tensors(results: Path, findings: Findings) -> Digests:
    """All of them; what is found there is returned, for what was made from it."""
    digests: Digests = {}
    read: list[tuple[Path, str, Mapping[str, Any], int, Mapping[str, str]]] = []
    for path in sorted((results / paths.BUNDLED["data"]).glob("*.safetensors")):
        if (found := _opened(path, findings)) is not None:
            arrays, facts = found
            findings.expect(digest_arrays(arrays) == facts["digest"], path, "its tensors do not match their digest")
            findings.expect(named_rightly(facts["id"], "data", facts["spec"]), path, "its name is not that of its spec")
            digests.setdefault(("data", facts["id"], None), set()).add(facts["digest"])
    for stage in STAGES:
        files = sorted((results / paths.BUNDLED[stage]).glob("*.safetensors"))
        files += sorted((results / "runs").glob(f"*/{stage}*.safetensors"))
        for path in files:
            if (found := _opened(path, findings)) is not None:
                for cell, seed, entry in _bundle(path, stage, *found, findings):
                    digests.setdefault((stage, cell, seed), set()).add(entry["digest"])
                    read.append((path, cell, found[1]["cells"][cell]["spec"], seed, entry["inputs"]))
    for path, cell, spec, seed, inputs in read:
        _read_what_is_there(path, cell, spec, seed, inputs, digests, findings)
    return digests


def check_weights(results: Path, findings: Findings) -> None:
    """Trained networks that were asked for by their path."""
    for path in sorted((results / "weights").glob("*.safetensors")):
        if (found := _opened(path, findings)) is not None:
            arrays, facts = found
            report(findings, path, check_seed("train", facts["spec"], facts, arrays))


def digest_of(digests: Digests, role: str, identity: str, seed: int) -> set[str]:
    """Of an input: what an init is read from may be a level of a ladder."""
    if role == "data":
        return digests.get(("data", identity, None), set())
    stages = ("init", "ticket") if role == "init" else (ROLES[role],)
    return set[str]().union(*(digests.get((stage, identity, seed), set()) for stage in stages))


def _opened(path: Path, findings: Findings) -> tuple[Arrays, dict[str, Any]] | None:
    findings.checked["tensor files"] += 1
    try:
        return read_tensors(path)
    except UNREADABLE as error:
        findings.expect(False, path, f"is damaged ({error})")
        return None


def _bundle(path: Path, stage: str, arrays: Arrays, facts: dict[str, Any], findings: Findings) -> Any:
    """Checks every seed of a bundle and yields those whose tensors are what they say."""
    by_place: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        cell, seed, tensor = name.split("/", 2)
        by_place.setdefault(f"{cell}/{seed}", {})[tensor] = array
    for cell, about in facts["cells"].items():
        findings.expect(named_rightly(cell, stage, about["spec"]), path, f"holds {cell}, which its spec is not")
        for seed, entry in about["seeds"].items():
            where, mine = f"{path}, {cell} seed {seed}", by_place.pop(f"{cell}/{seed}", {})
            if findings.expect(digest_arrays(mine) == entry["digest"], where, "its tensors do not match their digest"):
                yield cell, int(seed), entry
            report(findings, where, check_seed(stage, about["spec"], entry["row"], mine))
    for place in by_place:
        findings.expect(False, path, f"holds tensors of {place} that nothing tells of")


def _read_what_is_there(
    path: Path, cell: str, spec: Mapping[str, Any], seed: int, inputs: Any, digests: Digests, findings: Findings
) -> None:
    told = spec.get("inputs", {})
    for role, digest in inputs.items():
        identity = told.get(role)
        if identity is None or role not in ROLES:
            continue
        found = digest_of(digests, role, identity, seed)
        if not found:
            findings.skipped["inputs that lie in no artifact any more"] += 1
            continue
        findings.expect(digest in found, f"{path}, {cell} seed {seed}", f"was made from another {role} than {identity}")
