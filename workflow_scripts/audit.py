"""Verify everything under results/ and the store. A sentence for each violation, and then the exit status is not 0."""

from sparse_ortho.stages import audit
from sparse_ortho.stages.planning import add_config, plan_of
from sparse_ortho.stages.program import guarded, parser_of, say, store_root
from sparse_ortho.store import Store


def main() -> int:
    parser = parser_of(__doc__)
    add_config(parser)
    return guarded(parser, lambda a: audit.main(plan_of(a), Store(store_root()), say))


if __name__ == "__main__":
    raise SystemExit(main())
