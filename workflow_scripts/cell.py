"""Cut the records of one cell out of its bundles."""

from sparse_ortho.stages import cell
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--records", nargs="+", required=True, help="records of the bundles that hold the cell")
        parser.add_argument("--output", required=True, help="the records to write (.parquet)")

    return stage_program(__doc__, add, lambda job, context, a: cell.main(job, context, a.records, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
