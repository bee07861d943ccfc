"""Render one exhibit, a table or a figure, from the artifacts of its cells."""

from sparse_ortho.stages import exhibit
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--inputs", nargs="+", required=True, help="records, curves or initialised weights")
        parser.add_argument("--outputs", nargs="+", required=True, help="files to write; the suffix says which form")

    return stage_program(__doc__, add, lambda job, context, a: exhibit.main(job, context, a.inputs, a.outputs))


if __name__ == "__main__":
    raise SystemExit(main())
