"""The files under schemas/: what the config models say, and the shapes of every model that a study names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sparse_ortho.artifacts import canonical
from sparse_ortho.plan import studies
from sparse_ortho.plan.config import Config, Exhibit, Study
from sparse_ortho.plan.shapes import as_runs


def contents() -> dict[str, str]:
    """File name -> text."""
    named = {"config": Config, "study": Study, "exhibit": Exhibit}
    files = {f"{name}.schema.json": as_text(model.model_json_schema()) for name, model in named.items()}
    return files | {"shapes.json": as_lines(shapes())}


def as_text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def as_lines(entries: Mapping[str, Any]) -> str:
    """One entry a line, so that a new model is one new line of a diff."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {canonical(value)}" for key, value in entries.items()) + "\n}\n"


def shapes() -> dict[str, Any]:
    """Weight shapes and forward FLOPs of one image, for every model of every study at every scale."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in studies.names():
        for scale in studies.read(name)[0].scales:
            for node in studies.at_scale(name, scale).nodes("init"):
                spec = {key: node.spec[key] for key in ("model", "shape", "classes")}
                found[canonical(spec)] = spec
    return {text: facts(spec) for text, spec in sorted(found.items())}


def facts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Counted on torch's meta device: no weight is allocated, nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sparse_ortho.masks import maskable
    from sparse_ortho.stages.networks import build

    model = build(spec, "meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, *spec["shape"], device="meta"))
    return {"weights": as_runs(weight.shape for weight in maskable(model).values()), "flops": counter.get_total_flops()}
