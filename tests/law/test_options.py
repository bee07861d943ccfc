"""Options are read from the source, typed strictly, and dropped where they equal their default."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_ortho.artifacts import canonical
from sparse_ortho.errors import UserError
from sparse_ortho.plan import digest, options
from sparse_ortho.plan.options import check, defaults, fields_of, literal_of

SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
raise SystemExit("imported")

NEEDS = ("weights", "data")
FLOOR: float = -1.5
COMPUTED = len(NEEDS)

def method(weights, masks, positional=3, *, whole: int = 3, real: float = 0.5, on: bool = True, word: str = "a",
           kind: Literal["one", "two", 3] = "one", maybe: int | None = None, some: float | None = 0.5,
           many: tuple[float, ...] = (0.5, 0.75), few: list[int] = [1, 2], pair: tuple[int, str] = (1, "a"),
           deep: tuple[tuple[int, float], ...] = ((1, 0.5),), quoted: "int | str" = -1) -> None:
    """No option: *, hidden: int = 3."""

@dataclass(frozen=True)
class Options:
    """Words."""
    epochs: int
    lr: float = 0.1
    milestones: tuple[float, ...] = (0.5, 0.75)
    NOT_ONE = 3
    def method(self, *, inner: int = 3): ...

def nothing(): ...

async def unusual(*, x: int = 1): ...
'''
METHOD, OPTIONS = "made_up:method", "made_up:Options"


@pytest.fixture(scope="module", autouse=True)
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A module that must not be imported; the answer writes another function and gives its path."""
    folder, number = tmp_path_factory.mktemp("made_up"), iter(range(1000))
    (folder / "made_up.py").write_text(SOURCE)

    def write(signature: str) -> str:
        name = f"made_up_{next(number)}"
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported')\ndef f({signature}): ...\n")
        return f"{name}:f"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        forget()
        yield write
    forget()


def forget() -> None:
    digest.forget_sources()
    fields_of.cache_clear()
    options._model.cache_clear()


def refused(path: str, given: dict[str, Any]) -> str:
    """The one sentence that refuses it."""
    with pytest.raises(UserError) as caught:
        check((path,), given, "here")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# reading -----------------------------------------------------------------------------------------------------------


def test_every_annotation_is_read_without_importing() -> None:
    assert fields_of(METHOD) == {
        "whole": (int, 3),
        "real": (float, 0.5),
        "on": (bool, True),
        "word": (str, "a"),
        "kind": (Literal["one", "two", 3], "one"),
        "maybe": (int | None, None),
        "some": (float | None, 0.5),
        "many": (tuple[float, ...], (0.5, 0.75)),
        "few": (list[int], [1, 2]),
        "pair": (tuple[int, str], (1, "a")),
        "deep": (tuple[tuple[int, float], ...], ((1, 0.5),)),
        "quoted": (int | str, -1),
    }
    assert not [name for name in sys.modules if name.startswith("made_up")]


def test_the_fields_of_a_class_are_options_too() -> None:
    assert fields_of(OPTIONS) == {
        "epochs": (int, ...),
        "lr": (float, 0.1),
        "milestones": (tuple[float, ...], (0.5, 0.75)),
    }
    assert fields_of("made_up:nothing") == {}


def test_a_hash_picks_one_option() -> None:
    assert fields_of(METHOD + "#word") == {"word": (str, "a")}
    assert fields_of(OPTIONS + "#lr") == {"lr": (float, 0.1)}
    assert check(("made_up:nothing", METHOD + "#word"), {"word": "b"}, "here") == {"word": "b"}
    with pytest.raises(UserError, match=r"here.real: unknown key \(found 'real'\); allowed: word"):
        check(("made_up:nothing", METHOD + "#word"), {"real": 1.0}, "here")


@pytest.mark.parametrize("path", ["made_up:absent", "made_up:NEEDS", "made_up:unusual", "made_up:"])
def test_what_is_neither_function_nor_class_is_no_method(path: str) -> None:
    with pytest.raises(LookupError, match=path):
        fields_of(path)


@pytest.mark.parametrize(
    "default", ["1 / 3", "float('inf')", "math.pi", "NEEDS", "f'{1}'", "[x for x in ()]", "field(default_factory=list)"]
)
def test_a_default_that_is_no_literal_is_refused(default: str, made_up: Callable[[str], str]) -> None:
    with pytest.raises(TypeError, match="the default of gain must be a literal"):
        fields_of(made_up(f"*, gain: float = {default}"))


@pytest.mark.parametrize(
    "annotation", ["Optional[int]", "Path", "dict[str, int]", "Callable", "typing.Any", "Any", "np.ndarray", "set[int]"]
)
def test_an_annotation_that_is_not_simple_is_refused(annotation: str, made_up: Callable[[str], str]) -> None:
    with pytest.raises(TypeError, match="an option needs a simple annotation"):
        fields_of(made_up(f"*, gain: {annotation} = None"))
    with pytest.raises(TypeError, match="an option needs a simple annotation, found none"):
        fields_of(made_up("*, gain=1"))


def test_literals_beside_a_method_are_read() -> None:
    assert literal_of(METHOD, "NEEDS", ()) == ("weights", "data")
    assert literal_of(METHOD, "FLOOR", 0) == -1.5
    assert literal_of(METHOD, "ABSENT", "otherwise") == "otherwise"


def test_defaults_are_those_of_the_source() -> None:
    assert defaults(METHOD + "#word", OPTIONS + "#lr") == {"word": "a", "lr": 0.1}


# strictness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", "1"),
        ("whole", True),
        ("whole", 1.5),
        ("whole", 1.0),
        ("whole", None),
        ("whole", [1]),
        ("real", "0.5"),
        ("real", "1"),
        ("real", True),
        ("real", None),
        ("real", float("nan")),
        ("real", float("inf")),
        ("on", 1),
        ("on", 0),
        ("on", "true"),
        ("on", "yes"),
        ("on", None),
        ("word", 1),
        ("word", True),
        ("word", None),
        ("word", ["a"]),
        ("kind", "three"),
        ("kind", "3"),
        ("kind", None),
        ("maybe", "None"),
        ("maybe", False),
        ("maybe", 0.5),
        ("some", float("nan")),
        ("some", "x"),
        ("many", 0.5),
        ("many", "0.5"),
        ("many", ["0.5"]),
        ("many", [True]),
        ("many", [None]),
        ("many", [float("inf")]),
        ("few", [1.5]),
        ("few", ["1"]),
        ("few", [True]),
        ("few", {"0": 1}),
        ("pair", [1]),
        ("pair", [1, "a", 2]),
        ("pair", ["a", 1]),
        ("quoted", 0.5),
        ("quoted", None),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    assert refused(METHOD, {name: value}).startswith(f"here.{name}")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("whole", 4, 4),
        ("real", 1, 1.0),
        ("real", -1e-30, -1e-30),
        ("on", False, False),
        ("word", "", ""),
        ("kind", "two", "two"),
        ("kind", 3, 3),
        ("maybe", 0, 0),
        ("some", None, None),
        ("some", 1, 1.0),
        ("many", [1], [1.0]),
        ("many", (0.25, 1), [0.25, 1.0]),
        ("many", [], []),
        ("few", [3], [3]),
        ("few", [], []),
        ("pair", [2, "b"], [2, "b"]),
        ("deep", [[1, 1]], [[1, 1.0]]),
        ("quoted", "x", "x"),
        ("quoted", 5, 5),
    ],
)
def test_a_value_of_the_type_is_kept_as_plain_data(name: str, value: Any, kept: Any) -> None:
    found = check((METHOD,), {name: value}, "here")
    assert found == {name: kept} and canonical(found) == canonical({name: kept})


@given(st.data())
def test_whole_numbers_and_equal_floats_are_one_spelling(data: st.DataObject) -> None:
    """1 and 1.0 are the same learning rate, so they must give the same text, and the same identity."""
    number = data.draw(st.integers(-1000, 1000))
    spelled = [check((METHOD,), {"real": v, "some": v, "many": [v, 0.1]}, "here") for v in (number, float(number))]
    assert canonical(spelled[0]) == canonical(spelled[1])


# defaults ----------------------------------------------------------------------------------------------------------

GIVEN = {
    "whole": 3,
    "real": 0.5,
    "on": True,
    "word": "a",
    "kind": "one",
    "maybe": None,
    "some": 0.5,
    "many": [0.5, 0.75],
    "few": [1, 2],
    "pair": [1, "a"],
    "deep": [[1, 0.5]],
    "quoted": -1,
}


@given(st.sets(st.sampled_from(sorted(GIVEN))))
def test_a_default_that_is_written_out_is_dropped(names: set[str]) -> None:
    assert check((METHOD,), {name: GIVEN[name] for name in sorted(names)}, "here") == {}


def test_exactly_the_defaults_are_dropped() -> None:
    other = {"many": [0.75, 0.5], "few": [1], "deep": [[1, 0.5], [1, 0.5]], "maybe": 0}
    assert check((METHOD,), GIVEN | other, "here") == other
    assert check((METHOD,), {"deep": ((1, 0.5),), "few": (1, 2)}, "here") == {}
    assert check((OPTIONS,), {"epochs": 3, "lr": 0.1, "milestones": (0.5, 0.75)}, "here") == {"epochs": 3}


def test_a_default_is_not_changed_by_who_reads_it() -> None:
    check((METHOD,), {"few": [1, 2]}, "here")
    defaults(METHOD)["whole"] = 100
    assert fields_of(METHOD)["whole"] == (int, 3)


@given(st.permutations(sorted(GIVEN)))
def test_the_order_of_options_does_not_matter(names: list[str]) -> None:
    changed = {"whole": 4, "real": 1.5, "word": "b", "few": [9]}
    found = check((METHOD,), {name: (GIVEN | changed)[name] for name in names}, "here")
    assert canonical(found) == canonical(changed)


# names -------------------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    sentence = refused(METHOD, {"wrod": "b"})
    assert sentence.startswith("here.wrod: unknown key (found 'wrod'); allowed: ")
    assert sentence.endswith("did you mean 'word'?")
    assert "did you mean" not in refused(METHOD, {"zzzzzz": 1})
    assert "nothing here" in refused("made_up:nothing", {"x": 1})


@pytest.mark.parametrize("name", ["positional", "weights", "hidden", "inner", "self", "", "Whole", "whole "])
def test_only_options_are_options(name: str) -> None:
    assert "unknown key" in refused(METHOD, {name: 3})


def test_what_is_required_and_absent_is_refused() -> None:
    assert refused(OPTIONS, {"lr": 0.1}) == "here.epochs: is required but absent"


def test_a_complaint_names_the_place_in_a_list() -> None:
    assert refused(METHOD, {"many": [0.5, "x"]}).startswith("here.many.1: ")


def test_options_of_several_paths_are_one_set() -> None:
    found = check((METHOD + "#word", OPTIONS), {"word": "b", "epochs": 3}, "here")
    assert found == {"word": "b", "epochs": 3}


def test_what_comes_out_is_json() -> None:
    found = check((METHOD,), GIVEN | {"many": (1, 2), "deep": ((2, 2),)}, "here")
    assert json.loads(json.dumps(found)) == found
