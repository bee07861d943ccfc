"""Say what made which target stale: options, seeds, code (module by module), versions, missing files."""

from sparse_ortho.stages.planning import add_config, plan_of
from sparse_ortho.stages.program import guarded, parser_of, say
from sparse_ortho.stages.why import reasons


def main() -> int:
    parser = parser_of(__doc__)
    add_config(parser)
    return guarded(parser, lambda arguments: say("\n".join(reasons(plan_of(arguments)))))


if __name__ == "__main__":
    raise SystemExit(main())
