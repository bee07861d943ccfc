"""How a benchmark records what it measured: a JSON file beside the others, with the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from sparse_ortho.artifacts import write_json

RESULTS = Path(__file__).with_name("results")
VERSIONS = ("torch", "numpy", "scipy", "snakemake")


def record(name: str, figures: dict[str, Any], device: str | None = None) -> None:
    """Write benchmarks/results/<name>.json and print it."""
    machine = {
        "device": device or _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in VERSIONS},
    }
    write_json(RESULTS / f"{name}.json", {"figures": figures, "machine": machine})
    for key, value in figures.items():
        print(f"{key:48}{value}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
