"""Make the tables and figures of what is finished, from the store, into results/partial/. Trains nothing."""

from sparse_ortho.stages import partial
from sparse_ortho.stages.planning import add_config, plan_of
from sparse_ortho.stages.program import guarded, parser_of, say, store_root
from sparse_ortho.store import Store


def main() -> int:
    parser = parser_of(__doc__)
    add_config(parser)
    return guarded(parser, lambda a: partial.main(plan_of(a), Store(store_root()), say))


if __name__ == "__main__":
    raise SystemExit(main())
