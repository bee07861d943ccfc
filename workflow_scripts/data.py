"""Make a data set's artifact: uint8 tensors, labels and the stored split.

Original files are taken from $SPARSE_ORTHO_DATA when it is set, else downloaded and verified.
"""

from sparse_ortho.stages import data
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--output", required=True, help="the artifact to write (.safetensors)")

    return stage_program(__doc__, add, lambda job, context, a: data.main(job, context, a.output))


if __name__ == "__main__":
    raise SystemExit(main())
