"""Write the report: one page with every exhibit of the configured studies, and their provenance."""

from sparse_ortho.stages import report
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--output", required=True, help="the page to write (.html)")

    return stage_program(__doc__, add, lambda job, context, a: report.main(job, context, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
