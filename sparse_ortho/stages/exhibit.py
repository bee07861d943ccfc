"""Stage `exhibit`: one table or figure from what its cells left behind. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sparse_ortho.artifacts import read_tables, write_bytes
from sparse_ortho.errors import UserError
from sparse_ortho.plan.job import Job, load_cells
from sparse_ortho.registry import load
from sparse_ortho.report import tuning
from sparse_ortho.stages.bundle import Bundles, Context, Starts

Row = Mapping[str, Any]


class Source(Protocol):
    """Where an exhibit finds its cells: files, or (for what is partly finished) the store."""

    def rows(self, reads: str, planned: set[tuple[str, int]]) -> Iterable[Row]:
        """The records, curves, measures or layers of the planned cells and seeds."""
        ...

    def starts(self) -> Starts: ...


class Files:
    def __init__(self, paths: list[str]):
        self._paths = paths

    def rows(self, reads: str, planned: set[tuple[str, int]]) -> Iterable[Row]:
        if reads == "layers":
            starts = self.starts()
            return [line for cell, seed in sorted(planned) for line in layer_rows(cell, seed, starts.entry(cell, seed))]
        found = (row for row in read_tables(self._paths) if (row["cell"], row["seed"]) in planned)
        # one that is tuned reads records besides curves, to choose by
        return [row for row in found if reads == "runs" or ("epoch" in row) == (reads == "curves")]

    def starts(self) -> Starts:
        return Bundles(self._paths)


def main(job: Job, context: Context, inputs: list[str], outputs: list[str]) -> None:
    files = rendered(job, inputs)
    for path in outputs:
        write(path, files[path.rpartition(".")[2]])
    context.say(f"{job.more['exhibit']['kind']} {job.bundle}: {outputs[0].rpartition('.')[0]}.*")


def rendered(job: Job, inputs: list[str]) -> dict[str, Any]:
    """The files of a job by suffix."""
    return render(job.more["exhibit"], load_cells(job.more["cells"]), Files(inputs), job.more["published"])


def write(path: str, content: str | bytes) -> None:
    write_bytes(path, content.encode() if isinstance(content, str) else content)


def render(exhibit: dict[str, Any], cells: list[dict[str, Any]], source: Source, published: Any) -> dict[str, Any]:
    """The files of an exhibit by suffix, from exactly the cells and seeds that it names."""
    renderer, reads = load("exhibits", exhibit["kind"]), exhibit["reads"]
    if reads == "inits":
        return renderer(exhibit, *one_layer(exhibit, cells, source.starts()))
    if reads == "masks":
        return renderer(exhibit, cells, masks_of(source.starts()))
    rows = list(source.rows(reads, places(cells)))

    def draw(exhibit: Row, cells: Sequence[Row]) -> dict[str, Any]:
        named = places(cells)
        mine = [row for row in rows if (row["cell"], row["seed"]) in named]
        published_too = reads in ("records", "runs")
        return renderer(exhibit, cells, mine, published) if published_too else renderer(exhibit, cells, mine)

    if "tune" not in exhibit:
        return draw(exhibit, cells)
    return tuning.render(draw, exhibit, cells, rows if reads == "records" else source.rows("records", places(cells)))


def places(cells: Iterable[Row]) -> set[tuple[str, int]]:
    """The cells and seeds that an exhibit names."""
    return {(cell["id"], seed) for cell in cells for seed in cell["seeds"]}


def layer_rows(cell: str, seed: int, entry: Row) -> list[Row]:
    """The densities of the layers of one seed."""
    about = {"cell": cell, "seed": seed}
    layers = entry["row"].get("layers", ())
    return [about | {"position": i, "layer": n, "size": size, "density": d} for i, (n, size, d) in enumerate(layers)]


def masks_of(starts: Starts) -> Callable[[str, int], dict[str, Any] | None]:
    """The masks that a seed starts training with, and None for one that was refused or is not made yet."""

    def masks(cell: str, seed: int) -> dict[str, Any] | None:
        return starts.tensors(cell, seed, "masks/") if starts.entry(cell, seed)["row"]["status"] == "ok" else None

    return masks


def one_layer(exhibit: dict[str, Any], cells: list[dict[str, Any]], starts: Starts) -> tuple[Any, Any, dict[str, Any]]:
    """Weight, mask and facts of the layer that a picture shows, at the first seed of its cell."""
    cell, seed = cells[0], cells[0]["seeds"][0]
    if (row := starts.entry(cell["id"], seed)["row"])["status"] != "ok":
        raise UserError(f"{exhibit['study']}/{exhibit['name']}", f"its cell {cell['id']} was refused: {row['reason']}")
    weights, masks = (starts.tensors(cell["id"], seed, f"{family}/") for family in ("weights", "masks"))
    layer = exhibit["layer"] or next(iter(masks))
    if layer not in masks:
        where = f"{exhibit['study']}/{exhibit['name']}: layer"
        raise UserError(where, "unknown layer", found=layer, allowed=sorted(masks))
    return weights[layer], masks[layer], {"cell": cell["id"], "seed": seed, "layer": layer} | cell["axes"]
