"""Write schemas/: JSON schemas of the configuration, shapes and FLOPs of the models that studies name."""

from sparse_ortho.artifacts import write_text
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.stages.program import guarded, parser_of, say
from sparse_ortho.stages.schemas import contents


def main() -> int:
    def body(_):
        for name, text in contents().items():
            write_text(ROOT / "schemas" / name, text)
            say(f"schemas/{name}")

    return guarded(parser_of(__doc__), body)


if __name__ == "__main__":
    raise SystemExit(main())
