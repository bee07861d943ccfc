"""Where everything lies under results/: the only module that joins paths. The rules spell out the same patterns."""

from __future__ import annotations

RESULTS = "results"
STORE = f"{RESULTS}/store"
REPORT = f"{RESULTS}/report.html"
PROVENANCE = f"{RESULTS}/provenance"
BUNDLED = {"data": "data", "mask": "masks", "init": "inits", "ticket": "tickets", "train": "records"} | {
    "measure": "measures",
    "bench": "benches",
}
SUFFIX = dict.fromkeys(BUNDLED, "safetensors") | dict.fromkeys(("train", "measure", "bench"), "parquet")
TABLES = ("collapse", "compared", "factorial", "methods", "side_by_side", "table")  # kinds of exhibits that are text
SUFFIXES = {"table": ("md", "tex", "html", "csv"), "figure": ("svg", "png", "csv")}


def bundle(stage: str, name: str) -> str:
    """The artifact of a bundle (for train: its records)."""
    return f"{RESULTS}/{BUNDLED[stage]}/{name}.{SUFFIX[stage]}"


def curves(name: str) -> str:
    return f"{RESULTS}/curves/{name}.parquet"


def exhibit(kind: str, study: str, scale: str, name: str) -> list[str]:
    family = "table" if kind in TABLES else "figure"
    return [f"{RESULTS}/{family}s/{study}/{scale}/{name}.{suffix}" for suffix in SUFFIXES[family]]


def provenance(stage: str, name: str) -> str:
    """How a job came about: never an input of anything."""
    return f"{PROVENANCE}/{stage}/{name.replace('/', '-')}.json"
