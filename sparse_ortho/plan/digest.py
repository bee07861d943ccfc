"""Code digests: what a stage runs, so that an edit makes stale what it touches and nothing else.

The import closure of a stage's program, its module and the methods that a spec names is walked with `ast`; each
module counts by its syntax tree without comments and docstrings. Left out: `registry.py` and our own `__init__` files
(a new name makes nothing stale; only the resolved `name -> module:attribute` pairs count), `stages/program.py`
(arguments, log, provenance), imports under TYPE_CHECKING, and everything outside the project (that is what `env` is
for). A file beside a module that it names in a string (a template), or that such a file names, counts.

`ast.dump` differs between Python minors, so a digest holds within one minor, and the minor is part of `env`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from sparse_ortho.artifacts import canonical, digest_text

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sparse_ortho", "workflow_scripts")
LEFT_OUT = ("sparse_ortho.registry", "sparse_ortho.stages.program")  # the latter: how a job runs, not what it makes
DATA_SUFFIXES = (".j2", ".html", ".css", ".js", ".json", ".csv")
LONGEST_NAME = 200  # a longer text is no name of a file, and asking for it is an error


@functools.cache
def stage_code(stage: str, methods: frozenset[str] = frozenset()) -> str:
    """Digest of a stage together with the `module:attribute` of its methods."""
    return digest_text(canonical({"modules": stage_modules(stage, methods), "methods": sorted(methods)}))[:32]


@functools.cache
def stage_modules(stage: str, methods: frozenset[str] = frozenset()) -> dict[str, str]:
    """Module (or file, or plug-in distribution) -> digest, for `why` to say which one changed."""
    roots = [f"workflow_scripts.{stage}", f"sparse_ortho.stages.{stage}", *(m.partition(":")[0] for m in methods)]
    return dict(_closure(roots))


def forget_sources() -> None:
    """Drop what was read, so that the next digest reads the files again."""
    for cached in (stage_code, stage_modules, source_of, tree_of, _imports, _module_digest):
        cached.cache_clear()


@functools.cache
def source_of(module: str) -> Path | None:
    """The file of a module, found by walking paths: importing it to ask would run it."""
    parts = module.split(".")
    bases = [ROOT] if parts[0] in PACKAGES else [Path(entry) for entry in _search_path()]
    for base in bases:
        stem = base.joinpath(*parts)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


def _search_path() -> list[str]:
    import sys

    return [entry or "." for entry in sys.path]


@functools.cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module, without docstrings."""
    path = source_of(module)
    if path is None:
        raise ModuleNotFoundError(module)
    tree = ast.parse(path.read_text(), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            del node.body[0]
    return tree


def _closure(roots: Iterable[str]) -> list[tuple[str, str]]:
    waiting, seen = [root for root in roots if source_of(root)], {}
    while waiting:
        module = waiting.pop()
        if module in seen or module in LEFT_OUT or (_is_ours(module) and _is_package(module)):
            continue
        seen[module] = _module_digest(module)
        waiting.extend(_imports(module))
    return sorted(seen.items())


def _is_package(module: str) -> bool:
    path = source_of(module)
    return path is not None and path.name == "__init__.py"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def _is_the_users(module: str) -> bool:
    """A file of the user's own in the project, such as a criterion and what it imports from beside it."""
    path = source_of(module)
    if path is None or _is_ours(module) or not path.is_relative_to(ROOT):
        return False
    return not any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # as .venv is


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the same project that `module` imports anywhere, function level included."""
    top = module.partition(".")[0]
    family = PACKAGES if top in PACKAGES else (top, *PACKAGES)  # a plug-in's closure: its own and ours
    own = _is_the_users(module)
    found: list[str] = []
    for node in _runtime_nodes(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                inside = [*module.split("."), ""] if _is_package(module) else module.split(".")
                anchor = inside[: -node.level]
                base = ".".join([*anchor, base]) if base else ".".join(anchor)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        found.extend(n for n in names if (n.partition(".")[0] in family or own and _is_the_users(n)) and source_of(n))
    return tuple(found)


def _runtime_nodes(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`; its `else` runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            node = ast.Module(node.orelse, [])
        yield node
        yield from _runtime_nodes(node)


@functools.cache
def _module_digest(module: str) -> str:
    path, tree = source_of(module), tree_of(module)
    assert path is not None
    total = hashlib.sha256(ast.dump(tree).encode())
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for file, name in sorted(_files(path.parent, strings).items()):
        total.update(f"\0{name}\0".encode() + file.read_bytes())
    if not _is_ours(module):
        total.update(_distribution(module).encode())
    return total.hexdigest()[:32]


def _files(folder: Path, names: Iterable[str]) -> dict[Path, str]:
    """The files beside a module among `names`, and those that these name in quotes (a template includes others)."""
    found: dict[Path, str] = {}
    waiting = sorted(names)  # in an order that no process changes
    while waiting:
        name = waiting.pop()
        if len(name) > LONGEST_NAME or not name.endswith(DATA_SUFFIXES):
            continue
        for file in (folder / name, folder / "templates" / name):
            if file not in found and file.is_file():
                found[file] = name
                waiting += re.findall(r"[\"']([^\"'\s]+)[\"']", file.read_text(errors="replace"))
    return found


def _distribution(module: str) -> str:
    """Name and version of the distribution that a plug-in's module comes from."""
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    return ";".join(f"{name}=={metadata.version(name)}" for name in sorted(names))
