"""A job's text: canonical JSON that holds everything a bundle depends on, in its short form, and back again.

It is the one parameter of a rule, so Snakemake reruns the rule exactly when it changes. What all cells of a bundle
share is written once, under `common`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError

LIMIT = 100_000  # characters; Linux takes 128 KiB an argument
ABOUT = 250  # characters of a cell beside its spec: its identity, code, methods and seeds if they are not everybody's


@dataclass(frozen=True)
class Task:
    """One configuration of one stage, with the seeds to make."""

    id: str
    spec: Mapping[str, Any]
    seeds: Sequence[int]
    code: str
    methods: Sequence[str]


@dataclass(frozen=True)
class Job:
    stage: str
    bundle: str
    env: Mapping[str, str]
    cells: Sequence[Task] = ()
    more: Mapping[str, Any] = field(default_factory=dict)  # what an exhibit or a report depends on besides


def dump(job: Job) -> str:
    cells = [vars(cell) | {"seeds": list(cell.seeds), "methods": list(cell.methods)} for cell in job.cells]
    common, short = _factor(cells)
    text = canonical(
        {
            "stage": job.stage,
            "bundle": job.bundle,
            "env": dict(job.env),
            "common": common,
            "cells": short,
            "more": job.more,
        }
    )
    if len(text) > LIMIT:
        raise UserError(
            "bundle", f"the job {job.stage}/{job.bundle} is {len(text)} characters long; make bundles smaller"
        )
    return text


def length(specs: Sequence[Mapping[str, Any]]) -> int:
    """About how long the job of cells with these specs is."""
    common = canonical(_shared(specs))
    return len(common) + sum(ABOUT + len(canonical(spec)) - len(common) for spec in specs)


def load(text: str) -> Job:
    raw = json.loads(text)
    cells = []
    for short in raw["cells"]:
        whole = raw["common"] | short
        whole["spec"] = raw["common"].get("spec", {}) | short.get("spec", {})
        cells.append(Task(**whole))
    return Job(raw["stage"], raw["bundle"], raw["env"], tuple(cells), raw["more"])


def dump_cells(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The cells of an exhibit, {id, axes, seeds} each, as columns: an exhibit of a paper may show a thousand."""
    constant = _shared([cell["axes"] for cell in cells])
    axes = [name for name in cells[0]["axes"] if name not in constant]
    seeds = _shared([{"seeds": list(cell["seeds"])} for cell in cells])
    rows = [[c["id"], *(c["axes"][name] for name in axes), *([] if seeds else [list(c["seeds"])])] for c in cells]
    return {"axes": axes, "constant": constant, "rows": rows} | seeds


def load_cells(short: Mapping[str, Any]) -> list[dict[str, Any]]:
    cells = []
    for identity, *values in short["rows"]:
        seeds = short["seeds"] if "seeds" in short else values.pop()
        cells.append(
            {"id": identity, "axes": short["constant"] | dict(zip(short["axes"], values, strict=True)), "seeds": seeds}
        )
    return cells


def _factor(cells: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fields equal in all cells, taken out; `spec` one level deeper."""
    if len(cells) < 2:
        return {}, cells
    common = _shared(cells)
    common.pop("id", None)
    common["spec"] = _shared([cell["spec"] for cell in cells])
    short = [{key: value for key, value in cell.items() if key not in common} for cell in cells]
    for cell, rest in zip(cells, short, strict=True):
        rest["spec"] = {key: value for key, value in cell["spec"].items() if key not in common["spec"]}
    return common, short


def _shared(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = rows[0]
    return {key: value for key, value in first.items() if all(key in row and _same(row[key], value) for row in rows)}


def _same(one: Any, other: Any) -> bool:
    """Equal to the letter of their JSON: 1, 1.0 and True are not."""
    return one == other and (repr(one) == repr(other) or canonical(one) == canonical(other))
