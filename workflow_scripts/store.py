"""Keep the store in order: size, forget CELL, gc [--delete], export FILE [--study NAME] [--scale NAME], import FILE."""

from pathlib import Path

from sparse_ortho.stages import housekeeping as keep
from sparse_ortho.stages.planning import add_config, add_study, plan_of, study_of
from sparse_ortho.stages.program import guarded, parser_of, say, store_root
from sparse_ortho.store import Store


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("command", choices=["size", "forget", "gc", "export", "import"])
    parser.add_argument(
        "argument", nargs="?", help="the cell to forget (or how it begins), the archive to write or read"
    )
    parser.add_argument("--delete", action="store_true", help="gc: delete what it lists")
    add_config(parser)
    add_study(parser)
    store = Store(store_root())
    body = {
        "size": lambda a: keep.size(store, say),
        "forget": lambda a: keep.forget(store, plan_of(a), a.argument or "?", say),
        "gc": lambda a: keep.gc(store, plan_of(a), a.delete, say),
        "export": lambda a: keep.export(store, study_of(a), Path(a.argument or "store.tar"), say),
        "import": lambda a: keep.take_in(store, Path(a.argument or "store.tar"), say),
    }
    return guarded(parser, lambda arguments: body[arguments.command](arguments))


if __name__ == "__main__":
    raise SystemExit(main())
