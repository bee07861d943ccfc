"""Write the trained weights and masks of one seed of one cell; `sparse_ortho.load_run` reads them."""

from sparse_ortho.stages import weights
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", required=True, help="the data artifact")
        parser.add_argument("--inits", nargs="+", required=True, help="bundles of initialised weights")
        parser.add_argument("--output", required=True, help="the file to write (.safetensors)")

    return stage_program(__doc__, add, lambda job, context, a: weights.main(job, context, a.data, a.inits, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
