"""Measure the benches of a bundle, times among them; start it with OMP_NUM_THREADS=1, as its rule does."""

from sparse_ortho.stages import bench
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", nargs="*", default=[], help="the data artifact, of a bench with a network")
        parser.add_argument("--inits", nargs="*", default=[], help="bundles of initialised weights, of such a bench")
        parser.add_argument("--output", required=True, help="the benches to write, a row a quantity (.parquet)")

    return stage_program(__doc__, add, lambda job, context, a: bench.main(job, context, a.data, a.inits, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
