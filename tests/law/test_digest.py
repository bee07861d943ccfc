"""A code digest changes exactly when what a stage runs does: on small made-up packages."""

from __future__ import annotations

import ast
import itertools
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.plan import digest

METHOD = "house.rooms.method:method"
SOURCES = {
    "programs/__init__.py": "",
    "programs/train.py": "from house.stages import train\n",
    "house/__init__.py": "VERSION = 1\n",
    "house/errors.py": "class Problem(Exception):\n    pass\n",
    "house/registry.py": "TABLE = {}\n",
    "house/tools.py": "from house.errors import Problem\n\n\ndef tool(x, *, power=2):\n    return x**power\n",
    "house/stages/__init__.py": "",
    "house/stages/train.py": "from house import registry\nfrom house.tools import tool\n\nprint(tool, registry)\n",
    "house/rooms/__init__.py": "",
    "house/rooms/method.py": "import math\n\n\ndef method(x, *, gain: float = 1.0):\n    return x * gain * math.pi\n",
    "house/rooms/other.py": "def other():\n    return 1\n",
}


class House:
    """Sources in a folder, and the digests that a fresh process would give them."""

    def __init__(self, root: Path):
        self.root = root
        for file, text in SOURCES.items():
            self.write(file, text)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        digest.forget_sources()

    def append(self, file: str, text: str) -> None:
        self.write(file, (self.root / file).read_text() + textwrap.dedent(text))

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text()
        assert old in text
        self.write(file, text.replace(old, new))

    def code(self, *methods: str) -> str:
        return digest.stage_code("train", frozenset(methods or (METHOD,)))

    def modules(self, *methods: str) -> set[str]:
        return set(digest.stage_modules("train", frozenset(methods or (METHOD,))))


@contextmanager
def built() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(digest, "ROOT", Path(folder))
        patch.setattr(digest, "PACKAGES", ("house", "programs"))
        patch.setattr(digest, "LEFT_OUT", ("house.registry",))
        whole = digest._closure
        patch.setattr(digest, "_closure", lambda roots: whole([own_name(root) for root in roots]))
        try:
            yield House(Path(folder))
        finally:
            patch.undo()
            digest.forget_sources()


def own_name(root: str) -> str:
    """The house has other names than ours for the two roots of a stage."""
    return root.replace("workflow_scripts.", "programs.").replace("sparse_ortho.", "house.")


@pytest.fixture
def house() -> Iterator[House]:
    with built() as made:
        yield made


CLOSURE = {"programs.train", "house.stages.train", "house.tools", "house.errors", "house.rooms.method"}


def test_the_closure_is_what_runs(house: House) -> None:
    assert house.modules() == CLOSURE


# what changes nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\nimport math\n\n\n# another\ndef method(x, *, gain: float = 1.0):  # and one\n"
        "    return x * gain * math.pi",
        "import math\ndef method(x, *, gain: float = 1.0):\n\n\n  return x * gain * math.pi\n\n\n",
        "import math\n\n\ndef method(\n    x,\n    *,\n    gain: float = 1.0,\n):\n    return (\n        x\n"
        "        * gain\n        * math.pi\n    )\n",
        "import math; \ndef method(x, *, gain: float = 1.00): return (x * gain) * math.pi",
        '"""Words."""\n\nimport math\n\n\ndef method(x, *, gain: float = 1.0):\n    """More words."""\n'
        "    return x * gain * math.pi\n",
        '"""Words\n\nin lines, about t.json."""\nimport math\ndef method(x, *, gain: float = 1e0):\n    r"""More."""\n'
        "    return x * gain * math.pi",
    ],
)
def test_comments_docstrings_blank_lines_and_layout_change_nothing(house: House, text: str) -> None:
    before = house.code()
    house.write("house/rooms/method.py", text)
    assert house.code() == before


def test_docstrings_of_classes_and_nested_functions_change_nothing(house: House) -> None:
    bare = (
        "class A:\n    x = 1\n\n    async def f(self):\n        def g():\n            return 'text'\n        return g\n"
    )
    worded = (
        "class A:\n    'Class.'\n    x = 1\n\n    async def f(self):\n        'Function.'\n        def g():\n"
        "            'Inner.'\n            return \"text\"\n        return g\n"
    )
    house.write("house/errors.py", bare)
    before = house.code()
    house.write("house/errors.py", worded)
    assert house.code() == before


@given(st.data())
def test_any_layout_of_any_module_of_a_closure_has_one_digest(data: st.DataObject) -> None:
    with built() as house:
        before = house.code()
        for file in ("house/rooms/method.py", "house/tools.py", "house/stages/train.py", "programs/train.py"):
            lines = (house.root / file).read_text().splitlines()
            noise = st.lists(st.sampled_from(["", "    ", "# words", "    # words = 1"]), max_size=3)
            house.write(file, "\n".join(line for old in lines for line in (*data.draw(noise), old + "  # x")))
        assert house.code() == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("house/registry.py", "TABLE = {'new': 'house.rooms.new:new'}\n"),
        ("house/__init__.py", "VERSION = 2\n"),
        ("house/rooms/__init__.py", "from house.rooms.other import other\n"),
        ("house/rooms/other.py", "def other():\n    return 2\n"),
        ("house/rooms/unrelated.py", "import house.tools\n"),
        ("house/stages/init.py", "import house.tools\n"),
        ("house/rooms/method.txt", "no source"),
    ],
)
def test_what_no_stage_runs_changes_nothing(house: House, file: str, text: str) -> None:
    before = house.code()
    house.write(file, text)
    assert house.code() == before


# what changes it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("house/rooms/method.py", "gain: float = 1.0", "gain: float = 2.0"),
        ("house/rooms/method.py", "gain: float = 1.0", "gain: int = 1.0"),
        ("house/rooms/method.py", "gain: float = 1.0", "gain: float = 1"),
        ("house/rooms/method.py", "x * gain", "x / gain"),
        ("house/rooms/method.py", "x * gain * math.pi", "x * (gain * math.pi)"),
        ("house/rooms/method.py", "    return", "    x = x\n    return"),
        ("house/rooms/method.py", "    return", "    'docstring'\n    'but this is a statement'\n    return"),
        ("house/tools.py", "power=2", "power=3"),
        ("house/errors.py", "Exception", "ValueError"),
        ("house/stages/train.py", "print(tool, registry)", "print(registry, tool)"),
        ("programs/train.py", "train\n", "train\n1\n"),
    ],
)
def test_a_statement_a_default_or_a_literal_changes_it(house: House, file: str, old: str, new: str) -> None:
    before = house.code()
    house.edit(file, old, new)
    assert house.code() != before


def test_each_module_has_its_own_digest(house: House) -> None:
    """So that the one that changed can be named."""
    before = digest.stage_modules("train", frozenset([METHOD]))
    house.edit("house/tools.py", "power=2", "power=3")
    after = digest.stage_modules("train", frozenset([METHOD]))
    assert {name for name in before if before[name] != after[name]} == {"house.tools"}


def test_another_method_of_the_same_module_is_other_code(house: House) -> None:
    house.append("house/rooms/method.py", "def again():\n    return method(1)\n")
    codes = {house.code(METHOD), house.code("house.rooms.method:again"), house.code(METHOD, "house.rooms.other:other")}
    assert len(codes) == 3
    assert digest.stage_code("train", frozenset()) not in codes


def test_editing_one_method_leaves_the_code_of_the_others(house: House) -> None:
    before = house.code("house.rooms.other:other")
    house.edit("house/rooms/method.py", "1.0", "2.0")
    assert house.code("house.rooms.other:other") == before


# what is followed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "import house.rooms.other",
        "import house.rooms.other as o",
        "import math, house.rooms.other",
        "from house.rooms import other",
        "from house.rooms import other as o",
        "from house.rooms.other import other",
        "from house.rooms.other import *",
        "from . import other",
        "from .other import other",
        "from ..rooms import other",
        "from ..rooms.other import other",
        "from .. import tools, rooms\nfrom ..rooms import other",
        "def f():\n    from house.rooms.other import other",
        "def f():\n    def g():\n        from . import other",
        "async def f():\n    import house.rooms.other",
        "class A:\n    from house.rooms import other",
        "try:\n    from house.rooms import other\nexcept ImportError:\n    other = None",
        "if True:\n    pass\nelse:\n    import house.rooms.other",
        "for x in ():\n    import house.rooms.other",
        "with open('x') as f:\n    import house.rooms.other",
        "match 1:\n    case 1:\n        import house.rooms.other",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import house.rooms.other",
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import house.rooms.other",
        "import typing\nif typing.TYPE_CHECKING:\n    pass\nelif True:\n    import house.rooms.other",
    ],
)
def test_an_import_that_may_run_is_followed(house: House, line: str) -> None:
    house.append("house/rooms/method.py", "\n" + line + "\n")
    assert house.modules() == CLOSURE | {"house.rooms.other"}
    before = house.code()
    house.edit("house/rooms/other.py", "return 1", "return 2")
    assert house.code() != before


@pytest.mark.parametrize(
    "line",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.rooms.other import other",
        "import typing\nif typing.TYPE_CHECKING:\n    from . import other",
        "import typing as t\nif t.TYPE_CHECKING:\n    from . import other",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    if True:\n        import house.rooms.other",
        "text = 'import house.rooms.other'",
        "# import house.rooms.other",
        "from house import rooms",
        "import house.rooms",
        "from house.rooms import nothing_of_that_name",
    ],
)
def test_an_import_that_never_runs_is_not_followed(house: House, line: str) -> None:
    house.append("house/rooms/method.py", "\n" + line + "\n")
    assert house.modules() == CLOSURE
    before = house.code()
    house.edit("house/rooms/other.py", "return 1", "return 2")
    assert house.code() == before


def test_third_party_packages_are_not_followed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither numpy nor a package that lies beside ours on the path: that is what the versions in `env` are for."""
    monkeypatch.syspath_prepend(str(house.root))
    house.write("lodger/thing.py", "x = 1\n")
    house.append("house/rooms/method.py", "\nimport numpy\nfrom lodger import thing\nimport lodger.thing\n")
    assert house.modules() == CLOSURE
    before = house.code()
    house.write("lodger/thing.py", "x = 2\n")
    assert house.code() == before


def test_cycles_end(house: House) -> None:
    house.append(
        "house/errors.py", "\n\ndef late():\n    from house.rooms import method\n    from house import tools\n"
    )
    house.append("house/rooms/method.py", "\nfrom house.errors import late\nfrom house.rooms.method import method\n")
    assert house.modules() == CLOSURE


def test_the_way_to_a_module_does_not_matter(house: House) -> None:
    """The order in which imports are met changes the modules that hold them and no others."""
    lines = ["from house.rooms import other", "import house.tools", "from house.errors import Problem"]
    found = []
    for order in itertools.permutations(lines):
        house.write("house/rooms/method.py", "\n".join([*order, "def method(): pass", ""]))
        found.append(digest.stage_modules("train", frozenset([METHOD])))
    assert len({modules.pop("house.rooms.method") for modules in map(dict, found)}) == len(found), (
        "each is its own tree"
    )
    assert len({tuple(sorted(m)) for m in found}) == 1
    assert len({tuple(v for k, v in sorted(m.items()) if k != "house.rooms.method") for m in found}) == 1


GRAPHS = st.lists(st.frozensets(st.integers(0, 6), max_size=3), min_size=7, max_size=7)


@given(GRAPHS)
def test_the_closure_of_any_graph_is_what_can_be_reached(graph: list[frozenset[int]]) -> None:
    """Against a walk of the graph itself, cycles and self-imports included."""
    reached, edge = {0}, {0}
    while edge := {target for node in edge for target in graph[node]} - reached:
        reached |= edge
    with built() as house:
        for number, targets in enumerate(graph):
            lines = [f"def f{t}():\n    from house.g import m{t}\n" for t in sorted(targets)]
            house.write(f"house/g/m{number}.py", "\n".join(lines) + "\nx = 1\n")
        expected = CLOSURE - {"house.rooms.method"} | {f"house.g.m{number}" for number in reached}
        assert house.modules("house.g.m0:x") == expected


# files beside a module ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["house/rooms/page.html.j2", "house/rooms/templates/page.html.j2"])
def test_a_template_named_in_a_string_counts(house: House, place: str) -> None:
    house.append("house/rooms/method.py", "\n\ndef page():\n    return 'page.html.j2'\n")
    without = house.code()
    house.write(place, "one")
    before = house.code()
    house.write(place, "two")
    after = house.code()
    house.write(place.replace("page", "another"), "not named")
    assert len({without, before, after}) == 3 and house.code() == after


def test_a_template_named_in_a_docstring_or_a_comment_does_not_count(house: House) -> None:
    house.append("house/rooms/method.py", "\n\ndef page():\n    'page.html.j2'\n    return 1  # 'page.html.j2'\n")
    before = house.code()
    house.write("house/rooms/page.html.j2", "one")
    assert house.code() == before


def test_a_template_that_a_template_names_counts(house: House) -> None:
    house.append("house/rooms/method.py", "\n\ndef page():\n    return 'page.html.j2'\n")
    house.write("house/rooms/templates/page.html.j2", '{% from "facts.html.j2" import facts %}{% include "a.css" %}')
    house.write("house/rooms/templates/facts.html.j2", "{% include 'page.html.j2' %}")
    house.write("house/rooms/templates/a.css", "one")
    house.write("house/rooms/templates/b.css", "one")
    codes = [house.code()]
    for file in ("facts.html.j2", "a.css"):
        house.append(f"house/rooms/templates/{file}", "two")
        codes.append(house.code())
    assert len(set(codes)) == 3
    house.append("house/rooms/templates/b.css", "two")
    assert house.code() == codes[-1]


def test_a_long_text_that_ends_like_a_file_is_no_file(house: House) -> None:
    house.append("house/rooms/method.py", f"\nHELP = {'words ' * 100 + 'and.json'!r}\nODD = 'a\\0b.json'\n")
    assert house.code()


def test_all_templates_of_the_report_count() -> None:
    """Of our own sources, whichever module names them."""
    folder = digest.ROOT / "sparse_ortho" / "report" / "templates"
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        for package in digest.PACKAGES:
            copy(digest.ROOT / package, Path(root) / package)
        patch.setattr(digest, "ROOT", Path(root))
        try:
            for path in sorted(folder.iterdir()):
                digest.forget_sources()
                before = digest.stage_code("report")
                inside = Path(root) / path.relative_to(folder.parents[2])
                inside.write_text(inside.read_text() + " ")
                digest.forget_sources()
                assert digest.stage_code("report") != before, f"editing {path.name} makes no report stale"
        finally:
            patch.undo()
            digest.forget_sources()


def copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


# plug-ins ----------------------------------------------------------------------------------------------------------

PLUGIN = "lodger.method:method"


@pytest.fixture
def lodger(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A plug-in outside our packages, on the path; the answer writes its files."""

    def write(file: str, text: str) -> None:
        path = tmp_path / "lodger" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digest.forget_sources()

    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for module in ("json", "decimal"):
        assert module in sys.stdlib_module_names
    write("__init__.py", "")
    write(
        "method.py",
        "import json, numpy\nfrom lodger.inner import x\nfrom . import deep\n\n\ndef method():\n    return x\n",
    )
    write("inner.py", "import decimal\nx = 1\n")
    write("deep.py", "y = 1\n")
    write("unused.py", "z = 1\n")
    return write


def test_a_plug_in_is_followed_within_itself(house: House, lodger: Callable[[str, str], None]) -> None:
    ours = CLOSURE - {"house.rooms.method"}
    assert house.modules(PLUGIN) == ours | {"lodger", "lodger.method", "lodger.inner", "lodger.deep"}
    before = house.code(PLUGIN)
    lodger("unused.py", "z = 2\n")
    assert house.code(PLUGIN) == before
    codes = {before}
    for file in ("method.py", "inner.py", "deep.py"):
        lodger(file, "w = 3\n" + ("from lodger.inner import x\nfrom . import deep\n" if file == "method.py" else ""))
        codes.add(house.code(PLUGIN))
    assert len(codes) == 4


def test_the_version_of_a_plug_in_counts(
    house: House, lodger: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(version: str) -> str:
        monkeypatch.setattr(metadata, "packages_distributions", lambda: {"lodger": ["lodger-dist"], "house": ["mine"]})
        monkeypatch.setattr(metadata, "version", lambda name: version)
        digest.forget_sources()
        return house.code(PLUGIN)

    none = house.code(PLUGIN)
    first, second = installed("1.0"), installed("1.1")
    assert len({none, first, second}) == 3 and installed("1.0") == first


def test_a_version_of_ours_does_not_count(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    before = house.code()
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"house": ["mine"]})
    monkeypatch.setattr(metadata, "version", lambda name: "2.0")
    digest.forget_sources()
    assert house.code() == before


def test_a_plug_in_of_one_file_counts(house: House, lodger: Callable[[str, str], None]) -> None:
    lodger("../single.py", "def method():\n    return 1\n")
    before = house.code("single:method")
    lodger("../single.py", "def method():\n    return 2\n")
    assert house.modules("single:method") - CLOSURE == {"single"} and house.code("single:method") != before


def test_a_plug_in_that_lives_in_its_init_counts(house: House, lodger: Callable[[str, str], None]) -> None:
    """Our own __init__ files hold no logic; what others put into theirs is theirs."""
    lodger("__init__.py", "from .inner import x\n\n\ndef method():\n    return 1\n")
    before = house.code("lodger:method")
    lodger("__init__.py", "from .inner import x\n\n\ndef method():\n    return 2\n")
    edited = house.code("lodger:method")
    lodger("inner.py", "x = 2\n")
    assert len({before, edited, house.code("lodger:method")}) == 3


def test_nothing_of_a_plug_in_is_run(house: House, lodger: Callable[[str, str], None]) -> None:
    lodger("method.py", "raise SystemExit('imported')\n")
    assert "lodger.method" in house.modules(PLUGIN)
    assert "lodger" not in sys.modules and "house" not in sys.modules


# in one process and another ----------------------------------------------------------------------------------------


def test_sources_are_read_once_until_forgotten(house: House) -> None:
    before = house.code()
    (house.root / "house/tools.py").write_text("x = 2\n")
    assert house.code() == before
    digest.forget_sources()
    assert house.code() != before


def test_a_syntax_error_is_no_digest(house: House) -> None:
    house.write("house/tools.py", "def tool(:\n")
    with pytest.raises(SyntaxError):
        house.code()


def test_trees_are_kept_without_their_docstrings(house: House) -> None:
    house.write("house/tools.py", '"""Words."""\n\n\ndef f():\n    """Words."""\n')
    assert ast.get_docstring(digest.tree_of("house.tools")) is None
    with pytest.raises(ModuleNotFoundError):
        digest.tree_of("house.nothing")
