"""Initialise the networks of a bundle of cells: weights, and masks as the initialisation leaves them."""

from sparse_ortho.stages import init
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", nargs="*", default=[], help="data artifacts, for initialisations that read data")
        parser.add_argument("--masks", nargs="*", default=[], help="bundles of masks")
        parser.add_argument("--output", required=True, help="the bundle of weights and masks to write (.safetensors)")

    return stage_program(__doc__, add, lambda job, context, a: init.main(job, context, a.masks, a.output, a.data))


if __name__ == "__main__":
    raise SystemExit(main())
