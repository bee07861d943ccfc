"""Files of the user's own: named in config.yaml, refused in one sentence, and noticed when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sparse_ortho.errors import UserError
from sparse_ortho.plan.user_files import fingerprint, place_of, places
from sparse_ortho.plan.workflow import Plan

NOW = 1_700_000_000


def folder(root: Path) -> Path:
    for name in ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "test/cat/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"picture")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (NOW, NOW))
    return root


def test_a_picture_that_comes_or_goes_changes_the_fingerprint(tmp_path: Path) -> None:
    place = folder(tmp_path / "mine")
    first = fingerprint("image_folder", str(place))
    assert first == fingerprint("image_folder", str(place)) and first["files"] != "absent"
    (place / "train/dog/2.png").write_bytes(b"picture")
    second = fingerprint("image_folder", str(place))
    (place / "train/dog/2.png").unlink()
    third = fingerprint("image_folder", str(place))
    assert len({str(f) for f in (first, second, third)}) == 3


def test_a_table_that_is_written_again_changes_the_fingerprint(tmp_path: Path) -> None:
    table = tmp_path / "higgs.csv"
    found = []
    for number, content in enumerate(("a", "b", "bb")):
        table.write_text(content)
        os.utime(table, (NOW, NOW + number))
        found += [fingerprint("higgs", str(table))["files"], fingerprint("higgs", str(tmp_path))["files"]]
    assert len(set(found)) == 6


def test_an_absent_place_is_told_from_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSE_ORTHO_DATA", raising=False)
    assert fingerprint("imagenet", None) == fingerprint("imagenet", str(tmp_path / "no")) == {"files": "absent"}
    assert fingerprint("imagenet", str(tmp_path))["files"] != "absent"
    monkeypatch.setenv("SPARSE_ORTHO_DATA", str(tmp_path))
    (tmp_path / "imagenet").mkdir()
    assert fingerprint("imagenet", None)["files"] != "absent"


def test_data_with_a_published_digest_have_none(tmp_path: Path) -> None:
    assert fingerprint("mnist", str(tmp_path)) == fingerprint("digits", None) == {}


def test_places_start_at_the_checkout_and_name_data_sets(tmp_path: Path) -> None:
    given = {"mnist": "files/mnist", "imagenet": "/data/ilsvrc", "cifar10": "~/cifar"}
    home = str(Path("~/cifar").expanduser())
    assert places(given, tmp_path) == {
        "cifar10": home,
        "imagenet": "/data/ilsvrc",
        "mnist": str(tmp_path / "files/mnist"),
    }
    with pytest.raises(UserError, match=r"config\.yaml: paths: unknown data set .*'minst'.* did you mean 'mnist'"):
        Plan({"paths": {"minst": "/data"}})
    with pytest.raises(UserError, match="paths"):
        Plan({"paths": "/data"})


def test_jobs_are_told_the_place_and_not_by_their_text() -> None:
    plan = Plan({"paths": {"digits": "/data/digits"}})
    (name,) = plan.bundles("eoi", "data")
    assert "/data" not in plan.job("data", name)
    assert plan.job("data", name) == Plan({}).job("data", name)
    assert place_of("digits", {"SPARSE_ORTHO_PATHS": '{"digits": "/data/digits"}'}) == "/data/digits"
    assert place_of("digits", {}) is None
