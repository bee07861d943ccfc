"""Image sets from tiny files of their true formats, made here: every pixel and label where it belongs."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import itertools
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sparse_ortho.data import cifar10 as cifar10_module
from sparse_ortho.data import cifar10_jpeg as jpeg_module
from sparse_ortho.data import cifar100 as cifar100_module
from sparse_ortho.data import cinic10 as cinic_module
from sparse_ortho.data import fashion_mnist as fashion_module
from sparse_ortho.data import kmnist as kmnist_module
from sparse_ortho.data import svhn as svhn_module
from sparse_ortho.data.build import build
from sparse_ortho.data.small_pictures import decoded, published
from sparse_ortho.errors import UserError
from sparse_ortho.plan.identity import resolve_cell

REAL = os.environ.get("SPARSE_ORTHO_DATA")
ARCHIVE = Path(REAL or "/nowhere") / "cifar10-jpeg.tar.xz"
real_jpeg = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE.name} is not in SPARSE_ORTHO_DATA")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def facts(monkeypatch, module, **changed):
    monkeypatch.setattr(module, "FACTS", module.FACTS | changed)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def refused(function, message: str, path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        function()
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# --- IDX, as MNIST


def idx(shape, values) -> bytes:
    return gzip.compress(b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values))


@pytest.mark.parametrize("module", [fashion_module, kmnist_module], ids=["fashion_mnist", "kmnist"])
def test_the_likes_of_mnist_are_assembled_train_first(tmp_path, monkeypatch, module):
    facts(monkeypatch, module, shape=(1, 2, 3), train=3, test=2)
    files = {
        "train-images-idx3-ubyte.gz": idx((3, 2, 3), range(18)),
        "train-labels-idx1-ubyte.gz": idx((3,), (5, 0, 4)),
        "t10k-images-idx3-ubyte.gz": idx((2, 2, 3), range(100, 112)),
        "t10k-labels-idx1-ubyte.gz": idx((2,), (7, 2)),
    }
    assert files.keys() == module.SOURCES.keys()
    sources = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        sources[name] = module.SOURCES[name] | {"sha256": hashlib.sha256(content).hexdigest()}
    monkeypatch.setattr(module, "SOURCES", sources)
    name = module.__name__.rpartition(".")[2]
    arrays, found = build(name, validation=0.4, folder=None, cache=tmp_path / "cache", place=tmp_path)
    assert arrays["images"].shape == (5, 1, 2, 3)
    assert arrays["images"].ravel().tolist() == [*range(18), *range(100, 112)]
    assert arrays["labels"].tolist() == [5, 0, 4, 7, 2] and found["name"] == name
    assert [arrays[part].tolist() for part in ("train", "validation", "test")] == [[0, 1], [2], [3, 4]]


def test_files_of_mnist_do_not_pass_for_others(tmp_path):
    """All three have files of these names, and a wrong one is an error only in a data set's own folder."""
    for name in fashion_module.SOURCES:
        (tmp_path / name).write_bytes(b"of mnist")
    (tmp_path / "kmnist").mkdir()
    (tmp_path / "kmnist" / "train-images-idx3-ubyte.gz").write_bytes(b"of mnist")
    with pytest.raises(UserError, match="kmnist/train-images-idx3-ubyte.gz: has SHA-256"):
        build("kmnist", folder=str(tmp_path), cache=tmp_path / "cache")


# --- CIFAR, binary version


def cifar_records(n: int, label_bytes: int, seed: int):
    """n records, and what they mean: images by channel, row and column, and the last label byte."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10 if label_bytes == 1 else 100, n)
    images = rng.integers(0, 256, (n, 3, 32, 32))
    records = b""
    for label, image in zip(labels, images, strict=True):
        records += bytes([7] * (label_bytes - 1) + [label])  # the coarse label, which must not be taken
        records += bytes(image[c][y][x] for c in range(3) for y in range(32) for x in range(32))
    return records, images, labels


def cifar_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    """Members in an order that means nothing, among others that are not read."""
    mixed = {name: files[name] for name in sorted(files, reverse=True)}
    others = {"batches.meta.txt": b"airplane\n", "readme.html": b"<a>"}
    return archive(path, {f"{folder}/{name}": content for name, content in (others | mixed).items()})


def test_cifar10_is_five_batches_and_a_test_batch(tmp_path, monkeypatch):
    facts(monkeypatch, cifar10_module, train=10, test=3)
    parts = [cifar_records(n, 1, seed) for seed, n in enumerate([2, 2, 2, 2, 2, 3])]
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    path = cifar_archive(
        tmp_path / "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        dict(zip(names, (records for records, _, _ in parts), strict=True)),
    )
    images, labels, n_train = cifar10_module.cifar10(lambda name: tmp_path / name)
    assert images.dtype == np.uint8 and (images == np.concatenate([images for _, images, _ in parts])).all()
    assert labels.tolist() == np.concatenate([labels for _, _, labels in parts]).tolist() and n_train == 10
    assert path.name in cifar10_module.SOURCES


def test_cifar100_has_the_fine_labels(tmp_path, monkeypatch):
    facts(monkeypatch, cifar100_module, train=4, test=3)
    (train, images, labels), (test, more_images, more_labels) = cifar_records(4, 2, 0), cifar_records(3, 2, 1)
    path = cifar_archive(
        tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", {"train.bin": train, "test.bin": test}
    )
    found, found_labels, n_train = cifar100_module.cifar100(lambda name: tmp_path / name)
    assert (found == np.concatenate([images, more_images])).all() and n_train == 4
    assert found_labels.tolist() == [*labels, *more_labels]
    assert path.name in cifar100_module.SOURCES


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.bin": bytes(4 * 3074)}, r"holds no cifar-100-binary/test\.bin"),
        ({"train.bin": bytes(4 * 3074), "test.bin": bytes(3 * 3074 - 1)}, "should hold 7 records of 3074 bytes"),
        ({"train.bin": bytes(4 * 3074), "test.bin": bytes(4 * 3074)}, "should hold 7 records of 3074 bytes"),
    ],
)
def test_other_cifar_archives_are_refused(tmp_path, monkeypatch, files, message):
    facts(monkeypatch, cifar100_module, train=4, test=3)
    path = cifar_archive(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", files)
    refused(lambda: cifar100_module.cifar100(lambda name: path), message, path)


def test_no_pickle_is_ever_read(tmp_path, monkeypatch):
    """The Python version of CIFAR is pickles; one that would run something is refused without being run."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    evil = pickle.dumps(Evil())
    path = archive(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/data_batch_1": evil})
    refused(lambda: cifar10_module.cifar10(lambda name: path), "holds no cifar-10-batches-bin", path)
    assert not (tmp_path / "ran").exists()


# --- SVHN


def mat(path: Path, n: int, seed: int = 0, compressed: bool = True, **other):
    rng = np.random.default_rng(seed)
    content = {
        "X": rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8),
        "y": ((np.arange(n, dtype=np.uint8) + 8) % 10 + 1)[:, None],  # 9, 10, 1, 2 ...
    } | other
    savemat(path, {name: array for name, array in content.items() if array is not None}, do_compression=compressed)
    return content["X"], content["y"]


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_svhn_is_by_image_and_channel_and_ten_is_zero(tmp_path, monkeypatch, extra, compressed):
    counts = {"extra": 5, "train": 4, "test": 3}
    facts(monkeypatch, svhn_module, **counts)
    made = {p: mat(tmp_path / f"{p}_32x32.mat", n, n, compressed) for p, n in counts.items() if extra or p != "extra"}
    images, labels, n_train = svhn_module.svhn(lambda name: tmp_path / name, extra=extra)
    assert n_train == (9 if extra else 4) and images.shape == (n_train + 3, 3, 32, 32) and images.dtype == np.uint8
    row = 0
    for x, y in made.values():  # extra, train, test
        for i in range(len(y)):
            assert labels[row] == (0 if y[i, 0] == 10 else y[i, 0])
            for channel in range(3):
                assert (images[row, channel] == x[:, :, channel, i]).all()
            row += 1
    assert row == len(labels)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"y": None}, "should hold y"),
        ({"X": np.zeros((32, 32, 3, 5), np.uint8)}, "should hold X"),
        ({"X": np.zeros((4, 3, 32, 32), np.uint8)}, "should hold X"),
        ({"X": np.zeros((32, 32, 3, 4))}, "should hold X of bytes"),
        ({"y": np.array([[1], [0], [2], [3]], np.uint8)}, r"labels outside 1\.\.10"),
        ({"y": np.array([[1], [11], [2], [3]], np.uint8)}, r"labels outside 1\.\.10"),
    ],
)
def test_other_mat_files_are_refused(tmp_path, other, message):
    path = tmp_path / "train_32x32.mat"
    mat(path, 4, **other)
    refused(lambda: svhn_module.read_mat(path, 4), message, path)


def test_damaged_mat_files_are_refused(tmp_path):
    path = tmp_path / "train_32x32.mat"
    mat(path, 4)
    content = path.read_bytes()
    hdf = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n"
    for wrong in (b"", content[:50], content[: len(content) // 2], b"<html>not here</html>" * 20, hdf):
        path.write_bytes(wrong)
        refused(lambda: svhn_module.read_mat(path, 4), "is not a complete MATLAB 5 file", path)


# --- pictures in class folders


def picture(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels).save(out, kind)
    return out.getvalue()


def cinic(path: Path, counts: dict[str, int], size: int = 4):
    """Pictures by part, class and name, and the archive of them."""
    rng = np.random.default_rng(0)
    pixels = {
        f"{part}/{word}/{'cifar10' if i % 2 else 'n0001'}-{part}-{i}.png": rng.integers(
            0, 256, (3, size, size), np.uint8
        )
        for part, n in counts.items()
        for word in CLASSES
        for i in range(n)
    }
    others = {"README.md": b"text", "imagenet-contributors.csv": b"a,b\n"}
    archive(path, others | {f"./{name}": picture(image) for name, image in pixels.items()})
    return pixels


@pytest.fixture
def tiny_cinic(tmp_path, monkeypatch):
    facts(monkeypatch, cinic_module, shape=(3, 4, 4), train=30, validation=20, test=10)
    path = tmp_path / "CINIC-10.tar.gz"
    return path, cinic(path, {"train": 3, "valid": 2, "test": 1})


def by_part(pixels, part):
    return sorted(
        (image.tobytes(), CLASSES.index(name.split("/")[1])) for name, image in pixels.items() if name.startswith(part)
    )


def found_in(images, labels):
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def test_cinic10_keeps_its_three_parts(tiny_cinic):
    path, pixels = tiny_cinic
    images, labels, n_train, n_validation = cinic_module.cinic10(lambda name: path)
    assert (n_train, n_validation, len(labels)) == (30, 20, 60)
    for part, rows in {"train": slice(30), "valid": slice(30, 50), "test": slice(50, 60)}.items():
        assert found_in(images[rows], labels[rows]) == by_part(pixels, part)
    assert len(set(labels[:10].tolist())) > 3  # the training images do not come class by class


def test_cinic10_may_join_training_and_validation(tiny_cinic):
    path, pixels = tiny_cinic
    images, labels, n_train, n_validation = cinic_module.cinic10(lambda name: path, official_validation=False)
    assert (n_train, n_validation, len(labels)) == (50, 0, 60)
    assert found_in(images[:50], labels[:50]) == sorted(by_part(pixels, "train") + by_part(pixels, "valid"))
    assert found_in(images[50:], labels[50:]) == by_part(pixels, "test")
    valid = {image for image, _ in by_part(pixels, "valid")}
    late = sum(image.tobytes() in valid for image in images[30:50])
    assert 0 < late < 20  # and are mixed


def test_pictures_of_another_size_count_or_class_are_refused(tiny_cinic, monkeypatch):
    path, pixels = tiny_cinic
    refused(lambda: cinic_module.cinic10(lambda name: cinic_of(path, 5)), "another size than expected", path)
    packed = {name: picture(image) for name, image in pixels.items()}
    first = next(iter(packed))
    archive(path, {name: content for name, content in packed.items() if name != first})
    refused(lambda: cinic_module.cinic10(lambda name: path), "another number of train, validation and test", path)
    archive(path, {name: content for name, content in packed.items() if "/truck/" not in name})
    refused(lambda: cinic_module.cinic10(lambda name: path), "other classes than expected", path)
    archive(path, packed | {first: packed[first][:60]})
    refused(lambda: cinic_module.cinic10(lambda name: path), f"{first}: is not a complete picture", path)


def cinic_of(path: Path, size: int) -> Path:
    cinic(path, {"train": 3, "valid": 2, "test": 1}, size)
    return path


def test_grey_pictures_become_three_equal_channels(tiny_cinic):
    path, pixels = tiny_cinic
    name = next(name for name in pixels if name.startswith("test/dog"))
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    archive(path, {name: picture(image) for name, image in pixels.items()} | {name: picture(grey)})
    images, labels, *_ = cinic_module.cinic10(lambda name: path)
    (row,) = [row for row in range(50, 60) if labels[row] == CLASSES.index("dog")]
    assert (images[row] == grey).all()


# --- CIFAR-10 as JPEG


def test_jpegs_are_what_pillow_decodes(tmp_path, monkeypatch):
    facts(monkeypatch, jpeg_module, shape=(3, 16, 16), train=20, test=10)
    rng = np.random.default_rng(0)
    smooth = {
        f"{part}/{word}/{i:04}.jpg": np.full((3, 16, 16), rng.integers(0, 256, (3, 1, 1)), np.uint8)
        for part, n in {"train": 2, "test": 1}.items()
        for word in CLASSES
        for i in range(n)
    }
    path = archive(tmp_path / "cifar10-jpeg.tar.xz", {n: picture(image, "JPEG") for n, image in smooth.items()})
    images, labels, n_train = jpeg_module.cifar10_jpeg(lambda name: path)
    assert n_train == 20 and labels[20:].tolist() == list(range(10))
    for image, label in zip(images, labels, strict=True):  # one colour survives JPEG but for its rounding
        near = [np.abs(image.astype(int) - other).max() for name, other in smooth.items() if CLASSES[label] in name]
        assert min(near) <= 3


def permutation(name: str, n: int) -> np.ndarray:
    """What streams promise, written out."""
    entropy = int.from_bytes(hashlib.sha256(f"0\0split\0{name}".encode()).digest(), "big")
    return np.random.Generator(np.random.PCG64(entropy)).permutation(n)


@real_jpeg
def test_real_cifar10_jpeg():
    """All names and labels; of the pictures every 150th."""
    pictures = published(ARCHIVE, "cifar10_jpeg", jpeg_module.FACTS, jpeg_module.CLASSES)
    ordered = [f"train/{word}/{i:04}.jpg" for word in CLASSES for i in range(5000)]
    tests = [f"test/{word}/{i:04}.jpg" for word in CLASSES for i in range(1000)]
    assert pictures.names == [ordered[row] for row in permutation("cifar10_jpeg", 50000)] + tests
    assert pictures.labels.tolist() == [CLASSES.index(name.split("/")[1]) for name in pictures.names]
    held = np.bincount(pictures.labels[45000:50000])
    assert len(held) == 10 and abs(held - 500).max() < 85  # four deviations of a fair draw: 4 x 21.2
    some = pictures.names[::150]
    images = decoded(dataclasses.replace(pictures, names=some), (3, 32, 32))
    first = {name for name in some if "/airplane/" in name}  # the others are thousands of pictures further
    with tarfile.open(ARCHIVE) as tar:
        for member in itertools.islice(tar, 5000):
            if member.name in first:
                content = tar.extractfile(member)
                assert content is not None
                pixels = np.asarray(Image.open(content).convert("RGB"))
                assert (images[some.index(member.name)] == pixels.transpose(2, 0, 1)).all()
    mean = (images / 255).mean(axis=(0, 2, 3))
    assert np.abs(mean - np.array(jpeg_module.FACTS["mean"])).max() < 0.04  # of 400 images: 4 x 0.2 / 20


# --- what they are called


def cell(data) -> str:
    raw = {"data": data, "model": {"name": "mlp", "width": 8}, "init": "kaiming", "train": {"epochs": 1}}
    return resolve_cell(raw, "here").nodes["data"].id


def test_the_jpegs_never_pass_for_the_original():
    assert cell("cifar10") != cell("cifar10_jpeg")
    assert cell("cifar10").startswith("cifar10-") and cell("cifar10_jpeg").startswith("cifar10_jpeg-")


def test_which_images_validate_is_part_of_the_identity():
    assert cell({"name": "cifar10", "take": "first"}) != cell("cifar10")
    assert cell({"name": "cifar10", "take": "last"}) == cell("cifar10")
    with pytest.raises(UserError, match=r"here\.data\.take"):
        cell({"name": "cifar10", "take": "middle"})


@pytest.mark.parametrize(("name", "option"), [("svhn", "extra"), ("cinic10", "official_validation")])
def test_options_of_image_sets_are_part_of_the_identity(name, option):
    assert len({cell({"name": name, option: value}) for value in (True, False)}) == 2
