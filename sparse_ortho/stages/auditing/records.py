"""Records, curves, measurements and benches: their rows are those that the store keeps, made from what is there now.

A row of the store that is gone (forgotten, collected, another disk) leaves nothing to compare with; what a record says
by itself is checked all the same: its density, and the last row of its curve.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import read_tables
from sparse_ortho.plan import paths
from sparse_ortho.stages.auditing.bundles import Digests, digest_of
from sparse_ortho.stages.auditing.entries import Kept, Known, made_by
from sparse_ortho.stages.auditing.findings import Findings
from sparse_ortho.stages.auditing.seeds import named_rightly

LINES = {"measure": "measures", "bench": "benches"}
Row = Mapping[str, Any]
Place = tuple[str, int]


def check_records(results: Path, known: Known, digests: Digests, findings: Findings) -> None:
    """Every table of records under `results`, and its curves beside it."""
    whole: dict[Place, list[Row]] = {}
    for path in [*sorted((results / "records").glob("*.parquet")), *sorted(results.glob("runs/*/records.parquet"))]:
        bundled = path.parent.name == "records"
        beside = results / "curves" / path.name if bundled else path.with_name("curves.parquet")
        records, curves = _opened(path, findings), _opened(beside, findings)
        if records is None or curves is None:
            continue
        (rows, facts), drawn = records, _by_place(curves[0])
        for row in rows:
            place = (row["cell"], row["seed"])
            whole.setdefault(place, []).append(row)
            _record(path, row, drawn.pop(place, []), facts, known, digests, findings)
        for cell, seed in drawn:
            findings.expect(False, beside, f"holds a curve of {cell} seed {seed}, which has no record")
    for path in sorted((results / "cells").glob("*.parquet")):
        for row in (_opened(path, findings) or ([],))[0]:
            known_rows = whole.get((row["cell"], row["seed"]), [])
            findings.expect(row in known_rows, f"{path}, seed {row['seed']}", "is in no table of records")


def _record(
    path: Path, row: Row, curve: Sequence[Row], facts: Row, known: Known, digests: Digests, findings: Findings
) -> None:
    where = f"{path}, {row['cell']} seed {row['seed']}"
    if entries := _entries("train", row["cell"], row["seed"], facts, known, where, findings):
        kept = [entry for entry in entries if _same([row], [entry.row["record"]])]
        if findings.expect(bool(kept), where, "is not the record that the store keeps"):
            drawn = any(_same(curve, entry.row["curves"]) for entry in kept)
            findings.expect(drawn, where, "its curve is not the one that the store keeps")
            _inputs(kept, facts["cells"][row["cell"]]["spec"], row["seed"], digests, where, findings)
    _by_itself(row, curve, where, findings)


def check_lines(results: Path, known: Known, digests: Digests, findings: Findings) -> None:
    """What was measured, line by line."""
    for stage, column in LINES.items():
        for path in sorted((results / paths.BUNDLED[stage]).glob("*.parquet")):
            if (opened := _opened(path, findings)) is None:
                continue
            rows, facts = opened
            for (cell, seed), lines in _by_place(rows).items():
                where = f"{path}, {cell} seed {seed}"
                if entries := _entries(stage, cell, seed, facts, known, where, findings):
                    kept = [entry for entry in entries if _same(lines, entry.row[column])]
                    if findings.expect(bool(kept), where, "is not what the store keeps"):
                        _inputs(kept, facts["cells"][cell]["spec"], seed, digests, where, findings)


def _opened(path: Path, findings: Findings) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not findings.expect(path.is_file(), path, "is missing"):
        return None
    findings.checked["tables of records"] += 1
    try:
        return read_tables([path]), json.loads(pq.read_schema(path).metadata[b"sparse_ortho"])
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        findings.expect(False, path, f"is damaged ({' '.join(str(error).split())})")
        return None


def _entries(
    stage: str, cell: str, seed: int, facts: Row, known: Known, where: str, findings: Findings
) -> Sequence[Kept]:
    """The entries that a row may have been written from: one, or several that were made from other inputs."""
    about = facts["cells"].get(cell)
    if not findings.expect(about is not None, where, "its file does not say what made it"):
        return []
    findings.expect(named_rightly(cell, stage, about["spec"]), where, "its name is not that of its spec")
    found = known.get((stage, cell, seed, made_by(about["code"], facts["env"])), [])
    if not found:
        findings.skipped["rows whose entry of the store is gone"] += 1
    return found


def _inputs(kept: Sequence[Kept], spec: Row, seed: int, digests: Digests, where: str, findings: Findings) -> None:
    """Data and start are the artifacts that are there; trained networks are read from the store by their content."""
    for role in ("data", "init"):
        identity = spec.get("inputs", {}).get(role)
        if identity and (found := digest_of(digests, role, identity, seed)):
            read = {entry.inputs[role] for entry in kept if role in entry.inputs}
            findings.expect(
                not read or bool(read & found), where, f"was made from another {role} than {identity} is now"
            )


def _by_itself(row: Row, curve: Sequence[Row], where: str, findings: Findings) -> None:
    if row["status"] != "ok":
        return
    whole = row["weights"] is None or row["density"] == (row["nonzeros"] / row["weights"] if row["weights"] else 1.0)
    told = f"says density {row['density']}, and {row['nonzeros']} of {row['weights']} weights"
    findings.expect(whole, where, told)
    last = max(curve, key=lambda line: line["epoch"], default=None)
    if findings.expect(last is not None, where, "has no curve") and last is not None:
        agree = _equal(last["test_accuracy"], row["test_accuracy_last"])
        findings.expect(agree, where, "its last test accuracy is not that of its curve")


def _by_place(rows: Sequence[Row]) -> dict[Place, list[Row]]:
    found: dict[Place, list[Row]] = {}
    for row in rows:
        found.setdefault((row["cell"], row["seed"]), []).append(row)
    return found


def _same(written: Sequence[Row], kept: Sequence[Row]) -> bool:
    """Whether rows of a table are rows of the store, of which some say less: a column that is absent is null."""
    return len(written) == len(kept) and all(
        _equal(value, old.get(name))
        for new, old in zip(written, kept, strict=True)
        for name, value in new.items()
        if name not in ("cell", "seed")
    )


def _equal(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return (both and math.isnan(one) and math.isnan(other)) or one == other
