"""Choose the masks of a bundle of cells, for each of their seeds."""

from sparse_ortho.stages import mask
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", nargs="*", default=[], help="data artifacts, for scores that read data")
        parser.add_argument("--output", required=True, help="the bundle of masks to write (.safetensors)")

    return stage_program(__doc__, add, lambda job, context, a: mask.main(job, context, a.data, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
