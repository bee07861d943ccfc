"""The store: every entry matches its digests, its key is that of what it says made it, and its numbers are recounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.auditing.seeds import check_seed, named_rightly, report
from sparse_ortho.store import UNREADABLE, Store, key_of_facts, read_entry

OTHERS = ("aside", "checkpoints", "locks")  # folders of the store that hold no entries


@dataclass(frozen=True)
class Kept:
    """What an entry says, without its tensors."""

    row: Mapping[str, Any]
    inputs: Mapping[str, str]


Known = dict[tuple[str, str, int, str], list[Kept]]  # stage, cell, seed, what made it -> entries


def made_by(code: str, env: Mapping[str, str]) -> str:
    return canonical([code, dict(env)])


def check_store(store: Store, findings: Findings) -> Known:
    """Every folder that has the place of an entry; what is sound is returned for what was written from it."""
    known: Known = {}
    for folder in sorted(store.root.glob("*/??/*")):
        stage, key = folder.parents[1].name, folder.name
        if stage in OTHERS or not folder.is_dir():
            continue
        findings.checked["entries of the store"] += 1
        try:
            result, facts = read_entry(folder)
            about, right = facts["about"], key_of_facts(stage, facts)
            place = (stage, about["cell"], about["seed"], made_by(about["code"], about["env"]))
            named = named_rightly(about["cell"], stage, about["spec"])
        except UNREADABLE as error:
            findings.expect(False, folder, f"is damaged ({error})")
            continue
        if not findings.expect(right == key, folder, f"is not what its key says: what made it has the key {right}"):
            continue
        findings.expect(named, folder, f"says it is {about['cell']}, which its spec is not")
        report(findings, folder, check_seed(stage, about["spec"], result.row, result.tensors))
        known.setdefault(place, []).append(Kept(result.row, about["inputs"]))
    return known
