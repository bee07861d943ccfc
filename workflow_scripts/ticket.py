"""Draw the tickets of one level of every ladder: train what the level below starts from, prune it, and rewind it."""

from sparse_ortho.stages import ticket
from sparse_ortho.stages.program import stage_program


def main() -> int:
    def add(parser):
        parser.add_argument("--data", required=True, help="the data artifact")
        parser.add_argument("--inits", nargs="+", required=True, help="bundles of what the level below starts from")
        parser.add_argument("--tickets", nargs="*", default=[], help="bundles of tickets whose masks are taken over")
        parser.add_argument("--output", required=True, help="the bundle of weights and masks to write (.safetensors)")

    def body(job, context, a):
        ticket.main(job, context, a.data, a.inits, a.tickets, a.output)

    return stage_program(__doc__, add, body)


if __name__ == "__main__":
    raise SystemExit(main())
