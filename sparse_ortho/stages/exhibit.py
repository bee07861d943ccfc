"""Stage `exhibit`: one table or figure from what its cells left behind. Imports no torch."""

from __future__ import annotations

from typing import Any

from sparse_ortho.artifacts import read_tables, write_bytes
from sparse_ortho.errors import UserError
from sparse_ortho.plan.job import Job, load_cells
from sparse_ortho.registry import load
from sparse_ortho.stages.bundle import Bundles, Context, Starts


def main(job: Job, context: Context, inputs: list[str], outputs: list[str]) -> None:
    exhibit, cells = job.more["exhibit"], load_cells(job.more["cells"])
    rendered = render(exhibit, cells, inputs, job.more["published"])
    for path in outputs:
        content = rendered[path.rpartition(".")[2]]
        write_bytes(path, content.encode() if isinstance(content, str) else content)
        context.say(f"{exhibit['kind']} {job.bundle}: {path}")


def render(exhibit: dict[str, Any], cells: list[dict[str, Any]], inputs: list[str], published: Any) -> dict[str, Any]:
    """The files of an exhibit by suffix, from exactly the cells and seeds that it names."""
    renderer = load("exhibits", exhibit["kind"])
    if exhibit["reads"] == "inits":
        return renderer(exhibit, *one_layer(exhibit, cells, Bundles(inputs)))
    planned = {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}
    rows = [row for row in read_tables(inputs) if (row["cell"], row["seed"]) in planned]
    return (
        renderer(exhibit, cells, rows, published) if exhibit["reads"] == "records" else renderer(exhibit, cells, rows)
    )


def one_layer(exhibit: dict[str, Any], cells: list[dict[str, Any]], starts: Starts) -> tuple[Any, Any, dict[str, Any]]:
    """Weight, mask and facts of the layer that a picture shows, at the first seed of its cell."""
    cell, seed = cells[0], cells[0]["seeds"][0]
    if (row := starts.entry(cell["id"], seed)["row"])["status"] != "ok":
        raise UserError(f"{exhibit['study']}/{exhibit['name']}", f"its cell {cell['id']} was refused: {row['reason']}")
    weights, masks = (starts.tensors(cell["id"], seed, f"{family}/") for family in ("weights", "masks"))
    layer = exhibit["layer"] or next(iter(masks))
    if layer not in masks:
        raise UserError(
            f"{exhibit['study']}/{exhibit['name']}: layer", "unknown layer", found=layer, allowed=sorted(masks)
        )
    return weights[layer], masks[layer], {"cell": cell["id"], "seed": seed, "layer": layer} | cell["axes"]
