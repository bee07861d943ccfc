"""Data sets: facts against their sources, disjoint and fixed parts, and files that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import struct
import sys
import types

import numpy as np
import pytest

from sparse_ortho import registry
from sparse_ortho.data import mnist as mnist_module
from sparse_ortho.data.build import build
from sparse_ortho.data.digits import FACTS as DIGITS
from sparse_ortho.data.idx import read_idx
from sparse_ortho.data.parts import Streamed
from sparse_ortho.data.sources import fetch
from sparse_ortho.errors import UserError
from sparse_ortho.facts import with_options
from sparse_ortho.signatures import options_of

REAL = os.environ.get("SPARSE_ORTHO_DATA")
real_mnist = pytest.mark.skipif(not REAL, reason="SPARSE_ORTHO_DATA is not set: the original MNIST files are needed")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return build("digits", folder=None, cache=tmp_path_factory.mktemp("cache"))


def rows(images, labels):
    flat = images.reshape(len(images), -1).tolist()
    return sorted((*image, label) for image, label in zip(flat, labels, strict=True))


def test_digits_are_those_of_scikit_learn(digits):
    from sklearn.datasets import load_digits

    original, labels = load_digits(return_X_y=True)
    arrays, facts = digits
    assert arrays["images"].dtype == np.uint8 and arrays["images"].shape == (1797, *DIGITS["shape"])
    assert rows(arrays["images"], arrays["labels"]) == rows(np.asarray(original).astype(int), labels)
    assert facts["classes"] == len(np.unique(labels)) and facts["scale"] == np.max(original)


def test_digits_mean_and_std_are_those_of_the_training_part(digits):
    images = digits[0]["images"][: DIGITS["train"]] / DIGITS["scale"]
    assert (round(images.mean(), 4), round(images.std(), 4)) == (DIGITS["mean"][0], DIGITS["std"][0])


@pytest.mark.parametrize("name", registry.table("datasets"))
def test_facts_and_sources_are_literals_that_agree(name):
    import ast
    import inspect
    import sys

    module = sys.modules[registry.load("datasets", name).__module__]
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in ("FACTS", "SOURCES")
    }
    facts = with_options(found["FACTS"], options_of(registry.load("datasets", name)), name)
    assert len(facts["mean"]) == len(facts["std"]) == (facts["shape"][0] if len(facts["shape"]) == 3 else 1)
    assert {"classes", "train", "test", "scale", "version", "licence"} < facts.keys()
    for source in found["SOURCES"].values():
        if source == {"folder": True}:
            continue  # whatever the user has
        known = re.fullmatch("[0-9a-f]{64}", source.get("sha256", "")) and source["bytes"] > 0
        assert known or re.fullmatch("[0-9a-f]{32}", source["md5"])  # the size is published with the better digest
        assert all(re.fullmatch("https?://.*/", mirror) for mirror in source.get("mirrors", ()))


@pytest.mark.parametrize(("share", "n"), [(0.1, 143), (0.0, 0), (0.25, 359), (0.29, 416)])
def test_parts_are_disjoint_cover_all_and_validation_comes_last(tmp_path, share, n):
    arrays, _ = build("digits", validation=share, folder=None, cache=tmp_path)
    parts = [arrays[part] for part in ("train", "validation", "test")]
    assert np.concatenate(parts).tolist() == list(range(1797))  # in this order: each once, validation after training
    assert [len(part) for part in parts] == [1437 - n, n, 360]
    assert all(part.dtype == np.int64 for part in parts)


def test_building_twice_gives_equal_arrays(digits, tmp_path):
    again, facts = build("digits", folder=None, cache=tmp_path)
    assert facts == digits[1] and all((again[key] == value).all() for key, value in digits[0].items())


@pytest.mark.parametrize(("share", "n"), [(0.1, 143), (0.0, 0), (0.29, 416)])
def test_the_first_images_validate_when_asked_to(tmp_path, share, n):
    arrays, _ = build("digits", validation=share, take="first", folder=None, cache=tmp_path)
    assert arrays["validation"].tolist() == list(range(n)) and arrays["train"].tolist() == list(range(n, 1437))
    assert arrays["test"].tolist() == list(range(1437, 1797))


def test_the_first_or_the_last_and_nothing_else(tmp_path):
    with pytest.raises(UserError, match=r"data\.take.*'middle'.*allowed: last, first"):
        build("digits", take="middle", folder=None, cache=tmp_path)


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_validation_share_outside_is_refused(tmp_path, share):
    with pytest.raises(UserError, match=r"data\.validation"):
        build("digits", validation=share, folder=None, cache=tmp_path)


def test_an_unknown_data_set_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="did you mean 'digits'"):
        build("digit", folder=None, cache=tmp_path)
    with pytest.raises(UserError, match="SPARSE_ORTHO_DATA: is no folder"):
        build("digits", folder=str(tmp_path / "nowhere"), cache=tmp_path)


# --- IDX files, made here in the true format


def idx(shape, values, magic=b"\0\0\x08"):
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values)


def test_idx_is_read_in_row_order(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx((2, 2, 3), range(12))))
    assert read_idx(path, (2, 2, 3)).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(idx((2, 3), range(6), magic=b"\0\0\x0d"), mtime=0), "unsigned bytes"),
        (gzip.compress(b"\0\0", mtime=0), "unsigned bytes"),
        (gzip.compress(b"", mtime=0), "unsigned bytes"),
        (gzip.compress(b"\0\0\x08\x02\0\0", mtime=0), "other dimensions"),
        (gzip.compress(idx((3, 2), range(6)), mtime=0), "other dimensions"),
        (gzip.compress(idx((6,), range(6)), mtime=0), "other dimensions"),
        (gzip.compress(idx((2, 3), range(5)), mtime=0), "should hold 6 values"),
        (gzip.compress(idx((2, 3), range(7)), mtime=0), "should hold 6 values"),
        (gzip.compress(idx((2, 3), range(6)), mtime=0)[:-9], "complete gzip"),
        (b"<html>not here</html>", "complete gzip"),
    ],
)
def test_a_file_that_is_no_such_idx_is_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_idx(path, (2, 3))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_mnist_is_assembled_train_first(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_module, "FACTS", {**mnist_module.FACTS, "shape": (1, 2, 2), "train": 3, "test": 2})
    files = {
        "train-images-idx3-ubyte.gz": idx((3, 2, 2), range(12)),
        "train-labels-idx1-ubyte.gz": idx((3,), (5, 0, 4)),
        "t10k-images-idx3-ubyte.gz": idx((2, 2, 2), range(100, 108)),
        "t10k-labels-idx1-ubyte.gz": idx((2,), (7, 2)),
    }
    assert files.keys() == mnist_module.SOURCES.keys()
    for name, content in files.items():
        (tmp_path / name).write_bytes(gzip.compress(content))
    images, labels, n_train = mnist_module.mnist(lambda name: tmp_path / name)
    assert images.shape == (5, 1, 2, 2) and images.ravel().tolist() == [*range(12), *range(100, 108)]
    assert labels.tolist() == [5, 0, 4, 7, 2] and n_train == 3


@real_mnist
def test_real_mnist(tmp_path):
    arrays, facts = build("mnist", folder=REAL, cache=tmp_path)
    train = arrays["images"][:60000]
    assert round(float((train / 255).mean()), 4) == facts["mean"][0]
    assert round(float((train / 255).std()), 4) == facts["std"][0]
    assert arrays["train"].tolist() == list(range(54000)) and arrays["validation"].tolist() == list(range(54000, 60000))
    assert arrays["test"].tolist() == list(range(60000, 70000))
    assert arrays["labels"][:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(arrays["labels"][60000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert not any(tmp_path.iterdir())  # used where it lies


# --- files in the user's folder


def source_of(content, **more):
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "mirrors": (), **more}


@pytest.mark.parametrize("place", ["mine", "."])
def test_a_right_file_in_the_folder_is_used_where_it_is(tmp_path, place):
    path = tmp_path / place / "a.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"right")
    found = fetch("a.gz", source_of(b"right"), [tmp_path / "mine", tmp_path], tmp_path / "cache")
    assert found.samefile(path) and not (tmp_path / "cache").exists()


def test_a_wrong_file_in_the_folder_is_refused_with_both_digests(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"wrong")
    source = source_of(b"right")
    with pytest.raises(UserError) as error:
        fetch("a.gz", source, [tmp_path], tmp_path / "cache")
    wrong = hashlib.sha256(b"wrong").hexdigest()
    assert all(text in str(error.value) for text in (str(tmp_path / "a.gz"), wrong, source["sha256"]))
    assert (tmp_path / "a.gz").read_bytes() == b"wrong"


def test_the_same_content_packed_again_is_accepted(tmp_path):
    inner = bytes(range(256)) * 8
    original, again = (gzip.compress(inner, level, mtime=0) for level in (9, 1))
    (tmp_path / "a.gz").write_bytes(again)
    assert original != again
    source = source_of(original, unpacked=hashlib.sha256(inner).hexdigest())
    assert fetch("a.gz", source, [tmp_path], tmp_path / "cache") == tmp_path / "a.gz"
    (tmp_path / "a.gz").write_bytes(again[:-10])
    with pytest.raises(UserError, match="SHA-256"):
        fetch("a.gz", source, [tmp_path], tmp_path / "cache")


def test_an_md5_decides_where_it_is_all_that_was_published(tmp_path):
    source = {"md5": hashlib.md5(b"right").hexdigest(), "mirrors": ()}
    (tmp_path / "a.gz").write_bytes(b"right")
    assert fetch("a.gz", source, [tmp_path], tmp_path / "cache") == tmp_path / "a.gz"
    (tmp_path / "a.gz").write_bytes(b"wrong")
    with pytest.raises(UserError, match=f"has MD5 {hashlib.md5(b'wrong').hexdigest()}, expected {source['md5']}"):
        fetch("a.gz", source, [tmp_path], tmp_path / "cache")


def test_what_nobody_serves_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"a\.gz: cannot be downloaded.*SPARSE_ORTHO_DATA"):
        fetch("a.gz", source_of(b"right"), [tmp_path], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# --- data sets of other shapes, and where their files are


@pytest.fixture
def made_up(monkeypatch):
    """A data set `made_up` whose function is given; its one image is 3 pixels wide."""

    def register(function, sources, **facts):
        module = types.ModuleType("tests.made_up")
        facts = {"shape": (1, 1, 3), "classes": 2, "mean": (0.5,), "std": (1.0,), "scale": 255.0, **facts}
        module.__dict__.update(FACTS=facts, SOURCES=sources, made_up=function)
        monkeypatch.setitem(sys.modules, "tests.made_up", module)
        monkeypatch.setitem(registry.TABLES["datasets"], "made_up", "tests.made_up:made_up")
        registry.table.cache_clear()

    yield register
    monkeypatch.undo()
    registry.table.cache_clear()


IMAGES, LABELS = np.arange(24, dtype=np.uint8).reshape(8, 1, 1, 3), np.array([0, 1, 0, 1, 1, 0, 1, 0])


def test_an_official_validation_part_is_kept(made_up, tmp_path):
    made_up(lambda fetch: (IMAGES, LABELS, 4, 3), {})
    arrays, facts = build("made_up", folder=None, cache=tmp_path)
    assert (arrays["images"] == IMAGES).all() and (arrays["labels"] == LABELS).all()
    assert [arrays[part].tolist() for part in ("train", "validation", "test")] == [[0, 1, 2, 3], [4, 5, 6], [7]]
    assert "streamed" not in facts


@pytest.mark.parametrize("option", [{"validation": 0.2}, {"validation": 0.0}, {"take": "first"}])
def test_an_official_validation_part_is_not_split_again(made_up, tmp_path, option):
    made_up(lambda fetch: (IMAGES, LABELS, 4, 3), {})
    with pytest.raises(UserError, match="made_up has a validation part of its own"):
        build("made_up", folder=None, cache=tmp_path, **option)


def test_an_official_validation_part_of_nothing_is_none(made_up, tmp_path):
    made_up(lambda fetch: (IMAGES, LABELS, 6, 0), {})
    arrays, _ = build("made_up", validation=0.5, folder=None, cache=tmp_path)
    assert [arrays[part].tolist() for part in ("train", "validation", "test")] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_a_table_stays_float(made_up, tmp_path):
    table = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)
    made_up(lambda fetch: (table, LABELS, 6), {}, shape=(2,), scale=1.0, classes=1)
    arrays, facts = build("made_up", folder=None, cache=tmp_path)
    assert arrays["images"].dtype == np.float32 and (arrays["images"] == table).all() and facts["scale"] == 1.0


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1, 1]])
def test_labels_outside_of_the_classes_are_refused(made_up, tmp_path, labels):
    made_up(lambda fetch: (IMAGES[:3], np.array(labels), 2), {})
    with pytest.raises(UserError, match=r"data set made_up: has labels outside 0\.\.1"):
        build("made_up", folder=None, cache=tmp_path)


def test_options_decide_facts(made_up, tmp_path):
    def function(fetch, *, size: int = 3, middle: float = 0.5):
        return np.zeros((2, 3, size, size), np.uint8), np.array([0, 1]), 1

    made_up(function, {}, shape=(3, "size", "size"), mean=("middle",))
    _, facts = build("made_up", options={"size": 5}, folder=None, cache=tmp_path)
    assert facts["shape"] == (3, 5, 5) and facts["mean"] == (0.5, 0.5, 0.5)


def test_a_streamed_set_names_its_files_and_their_folder(made_up, tmp_path):
    names = ["train/a/1.jpg", "train/b/ä 2.jpg", "val/a/3.jpg", "test/b/4.jpg"]
    made_up(lambda fetch: Streamed(fetch("."), names, np.array([0, 1, 0, 1]), 2, 1), {".": {"folder": True}})
    (tmp_path / "mine").mkdir()
    arrays, facts = build("made_up", folder=None, cache=tmp_path / "cache", place=tmp_path / "mine")
    assert "images" not in arrays and arrays["files"].dtype == np.uint8
    assert arrays["files"].tobytes().decode().split("\n") == names
    assert [arrays[part].tolist() for part in ("train", "validation", "test")] == [[0, 1], [2], [3]]
    assert facts["streamed"] is True and facts["root"] == str((tmp_path / "mine").resolve())


def reads(*files):
    """A data set that reads files, and what it read."""
    content = {}

    def function(fetch):
        content.update({file: fetch(file).read_bytes() for file in files})
        return IMAGES, LABELS, 6

    return function, content


def test_a_named_place_is_looked_at_first_and_only_there(made_up, tmp_path):
    function, content = reads("a.gz")
    made_up(function, {"a.gz": source_of(b"right")})
    for folder in ("data/made_up", "mine"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "made_up" / "a.gz").write_bytes(b"wrong")
    data = str(tmp_path / "data")
    with pytest.raises(UserError, match=r"mine: is named as the place of data set made_up, but holds no a\.gz"):
        build("made_up", folder=data, cache=tmp_path / "cache", place=tmp_path / "mine")
    (tmp_path / "mine" / "a.gz").write_bytes(b"right")
    build("made_up", folder=data, cache=tmp_path / "cache", place=tmp_path / "mine")
    (tmp_path / "any name").write_bytes(b"right")  # the only file of its data set may have any name
    build("made_up", folder=data, cache=tmp_path / "cache", place=tmp_path / "any name")
    assert content == {"a.gz": b"right"} and not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="SHA-256"):
        build("made_up", folder=data, cache=tmp_path / "cache", place=tmp_path / "data" / "made_up" / "a.gz")


def test_a_named_place_that_is_not_there_is_refused(made_up, tmp_path):
    function, _ = reads("a.gz")
    made_up(function, {"a.gz": source_of(b"right", mirrors=("http://127.0.0.1:9/",))})
    with pytest.raises(UserError, match="nowhere: does not exist, but is named as the place of data set made_up"):
        build("made_up", folder=None, cache=tmp_path / "cache", place=tmp_path / "nowhere")
    assert not (tmp_path / "cache").exists()


def test_one_file_is_no_place_for_several(made_up, tmp_path):
    function, _ = reads("a.gz", "b.gz")
    made_up(function, {"a.gz": source_of(b"right"), "b.gz": source_of(b"right")})
    (tmp_path / "c.gz").write_bytes(b"right")
    with pytest.raises(UserError, match=r"c\.gz: is one file, but data set made_up has several"):
        build("made_up", folder=None, cache=tmp_path / "cache", place=tmp_path / "c.gz")


def test_a_name_that_other_data_sets_use_is_only_looked_for_in_an_own_folder(made_up, tmp_path):
    function, content = reads("a.gz")
    made_up(function, {"a.gz": source_of(b"right", own_folder=True)})
    (tmp_path / "a.gz").write_bytes(b"of another data set")
    with pytest.raises(UserError, match="cannot be downloaded"):
        build("made_up", folder=str(tmp_path), cache=tmp_path / "cache")
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "a.gz").write_bytes(b"right")
    build("made_up", folder=str(tmp_path), cache=tmp_path / "cache")
    assert content == {"a.gz": b"right"}


def test_a_folder_that_is_not_there_is_asked_for(made_up, tmp_path):
    made_up(lambda fetch: Streamed(fetch("train"), [], LABELS[:0], 0), {"train": {"folder": True}})
    with pytest.raises(UserError, match=r"data set made_up: needs a folder train of your own files.*config\.yaml"):
        build("made_up", folder=None, cache=tmp_path / "cache")
    (tmp_path / "made_up" / "train").mkdir(parents=True)
    _, facts = build("made_up", folder=str(tmp_path), cache=tmp_path / "cache")
    assert facts["root"] == str((tmp_path / "made_up" / "train").resolve())
