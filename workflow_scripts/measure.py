"""Measure the networks of a bundle of cells, as they were initialised or after their training."""

from sparse_ortho.stages import measure
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", required=True, help="the data artifact")
        parser.add_argument("--inits", nargs="+", required=True, help="bundles of initialised weights")
        parser.add_argument("--output", required=True, help="the measures to write, a row a quantity (.parquet)")

    return stage_program(__doc__, add, lambda job, context, a: measure.main(job, context, a.data, a.inits, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
