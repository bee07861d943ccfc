"""Train the networks of a bundle of cells, every seed of them, each from its initialised weights."""

from sparse_ortho.stages import train
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", required=True, help="the data artifact")
        parser.add_argument("--inits", nargs="+", required=True, help="bundles of initialised weights")
        parser.add_argument("--records", required=True, help="the records to write, a row a seed (.parquet)")
        parser.add_argument("--curves", required=True, help="the curves to write, a row an epoch (.parquet)")

    def body(job, context, a):
        train.main(job, context, a.data, a.inits, a.records, a.curves)

    return stage_program(__doc__, add, body)


if __name__ == "__main__":
    raise SystemExit(main())
