"""Pictures of the user's: decoded as Pillow and torchvision do, in fair fixed parts, and refused in one sentence."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from sparse_ortho.data import image_folder as image_folder_module
from sparse_ortho.data import tiny_imagenet as tiny_module
from sparse_ortho.data.build import build
from sparse_ortho.data.pictures import decode, decode_square, resize_crop
from sparse_ortho.errors import UserError

COLOURS = {"ant": (250, 10, 10), "bee": (10, 250, 10), "cow": (10, 10, 250)}
REAL = Path(os.environ.get("SPARSE_ORTHO_DATA", ""), "tiny-imagenet-20.zip")
real_tiny = pytest.mark.skipif(
    not REAL.is_file(), reason="SPARSE_ORTHO_DATA holds no tiny-imagenet-20.zip: real pictures are needed"
)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def chw(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def coloured(folder: Path, counts: dict[str, int], size=(8, 8)) -> Path:
    """part -> pictures a class, every picture in the colour of its class with its own number in one pixel."""
    for part, count in counts.items():
        for word, colour in COLOURS.items():
            (folder / part / word).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", size, colour)
                image.putpixel((0, 0), (number, list(counts).index(part), 0))
                image.save(folder / part / word / f"{number:03}.png")
    return folder


def packed(folder: Path, target: Path, top: str = "") -> Path:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in files:
                archive.write(path, top + path.relative_to(folder).as_posix())
    else:
        with tarfile.open(target, "w:gz") as archive:
            for path in files:
                archive.add(path, top + path.relative_to(folder).as_posix())
    return target


def made(place: Path, tmp_path: Path, name: str = "image_folder", **options):
    return build(name, options=options, folder=None, cache=tmp_path / "cache", place=place)


def small(place: Path, tmp_path: Path, **options):
    return made(place, tmp_path, **{"classes": 3, "size": 8} | options)


# pixels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("JPEG", {"quality": 90})])
def test_decoding_gives_the_pixels_of_pillow(kind, options, mode):
    content = encoded(noise(13, 7, mode), kind, **options)
    with Image.open(io.BytesIO(content)) as image:
        oracle = chw(image.convert("RGB"))
    found = decode(content, 3, "x")
    assert found.shape == (3, 7, 13) and found.dtype == np.uint8 and (found == oracle).all()


def test_grey_is_repeated_in_colour_and_colour_is_its_luma_in_grey():
    grey = noise(5, 4, "L")
    assert (decode(encoded(grey), 3, "x") == np.asarray(grey)).all()
    pixels = np.asarray(noise(5, 4)).astype(np.float64)
    luma = pixels @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert np.abs(decode(encoded(noise(5, 4)), 1, "x")[0] - luma).max() <= 1


def test_transparency_and_palettes_give_the_colours_beneath():
    image = noise(6, 6)
    hidden = image.copy()
    hidden.putalpha(noise(6, 6, "L", seed=1))
    assert (decode(encoded(hidden), 3, "x") == chw(image)).all()
    two = Image.new("P", (4, 4), 1)
    two.putpalette([0, 0, 0, 9, 120, 250])
    assert decode(encoded(two, transparency=b"\x00\x80"), 3, "x")[:, 2, 1].tolist() == [9, 120, 250]


@pytest.mark.parametrize("size", [4, 16, 31, 40])
@pytest.mark.parametrize("shape", [(16, 16), (16, 29), (45, 17), (64, 33)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resize_crop_is_torchvisions_resize_and_center_crop(mode, shape, size):
    image = noise(*shape, mode)
    oracle = functional.center_crop(functional.resize(image, [size]), [size])  # type: ignore[arg-type]
    assert (resize_crop(chw(image), size) == chw(oracle)).all()


def test_shrinking_averages_and_does_not_alias():
    """Stripes of one pixel become grey; picking pixels would keep them black or white."""
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.abs(resize_crop(stripes, 8).astype(int) - 127)[:, :, 1:-1].max() <= 3


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", encoded(noise(40, 40))[:200], encoded(noise(40, 40), "JPEG")[:300], encoded(noise(9, 9))[:20]],
)
def test_a_broken_picture_is_named_in_one_sentence(content):
    with pytest.raises(UserError, match=r"^train/ant/7.png: is not a complete picture \([^<\n]*\)$"):
        decode(content, 3, "train/ant/7.png")


def test_more_than_eight_bits_are_refused():
    deep = Image.fromarray(np.full((4, 4), 40000, np.uint16))
    with pytest.raises(UserError, match="x: has more than eight bits a channel"):
        decode(encoded(deep), 1, "x")


# folders and archives ------------------------------------------------------------------------------------------------


def test_every_picture_is_there_once_in_its_part_with_its_label(tmp_path):
    place = coloured(tmp_path / "set", {"train": 20, "val": 4, "test": 5})
    arrays, facts = small(place, tmp_path)
    assert facts["shape"] == (3, 8, 8) and facts["classes"] == 3
    assert facts["mean"] == facts["std"] == (0.5, 0.5, 0.5) and facts["scale"] == 255.0
    assert arrays["images"].shape == (87, 3, 8, 8) and arrays["images"].dtype == np.uint8
    colours = list(COLOURS.values())  # classes are sorted by name
    for part, number, count in (("train", 0, 20), ("validation", 1, 4), ("test", 2, 5)):
        images, labels = arrays["images"][arrays[part]], arrays["labels"][arrays[part]]
        assert [tuple(image[:, 4, 4]) for image in images] == [colours[label] for label in labels]
        assert (images[:, 1, 0, 0] == number).all()
        found = sorted(zip(labels.tolist(), images[:, 0, 0, 0].tolist(), strict=True))
        assert found == [(label, n) for label in range(3) for n in range(count)]
    parts = np.concatenate([arrays[part] for part in ("train", "validation", "test")])
    assert sorted(parts.tolist()) == list(range(87))


def test_training_pictures_are_in_a_fixed_order_that_mixes_the_classes(tmp_path):
    place = coloured(tmp_path / "set", {"train": 20, "test": 2})
    arrays, _ = small(place, tmp_path)
    again, _ = small(place, tmp_path)
    assert (arrays["images"] == again["images"]).all()
    labels = arrays["labels"]
    assert len(arrays["validation"]) == 6 and len(arrays["train"]) == 54
    assert set(labels[arrays["validation"]].tolist()) == {0, 1, 2}  # by name the last tenth would be cows alone
    assert labels[arrays["test"]].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("folder", ["val", "valid"])
def test_val_alone_is_the_test_part_and_valid_means_the_same(tmp_path, folder):
    arrays, _ = small(coloured(tmp_path / "set", {"train": 10, folder: 3}), tmp_path)
    assert [len(arrays[part]) for part in ("train", "validation", "test")] == [27, 3, 9]
    arrays, _ = small(coloured(tmp_path / "both", {"train": 10, folder: 3, "test": 1}), tmp_path)
    assert [len(arrays[part]) for part in ("train", "validation", "test")] == [30, 9, 3]


@pytest.mark.parametrize("top", ["", "mine/"])
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_an_archive_gives_what_its_folder_gives(tmp_path, ending, top):
    folder = coloured(tmp_path / "set", {"train": 6, "test": 2})
    archive = packed(folder, tmp_path / f"pictures{ending}", top)
    (arrays, facts), (same, again) = small(folder, tmp_path), small(archive, tmp_path)
    assert facts == again and arrays.keys() == same.keys()
    assert all((arrays[key] == same[key]).all() for key in arrays)


def test_a_folder_one_level_down_and_deeper_pictures_and_other_files_are_understood(tmp_path):
    folder = coloured(tmp_path / "outer" / "set", {"train": 3, "test": 1})
    (folder / "train" / "ant" / "more").mkdir()
    (folder / "train" / "ant" / "more" / "x.PNG").write_bytes(encoded(Image.new("RGB", (8, 8), COLOURS["ant"])))
    for name in ("notes.txt", "train/ant/boxes.txt", "train/bee/._000.png", "train/Thumbs.db"):
        (folder / name).write_text("no picture")
    arrays, _ = small(tmp_path / "outer", tmp_path)
    assert np.bincount(arrays["labels"]).tolist() == [5, 4, 4]


def test_a_class_called_train_is_a_class(tmp_path):
    folder = tmp_path / "set"
    for part in ("train", "test"):
        for word in ("bus", "train"):
            (folder / part / word).mkdir(parents=True)
            (folder / part / word / "0.png").write_bytes(encoded(noise(8, 8)))
    arrays, _ = small(folder, tmp_path, classes=2)
    assert len(arrays["labels"]) == 4


def test_options_decide_channels_size_mean_and_std(tmp_path):
    folder = coloured(tmp_path / "set", {"train": 2, "test": 1}, size=(20, 30))
    arrays, facts = small(folder, tmp_path, size=12, channels=1, mean=[0.4], std=[0.2])
    assert arrays["images"].shape == (9, 1, 12, 12)
    assert (facts["shape"], facts["mean"], facts["std"]) == ((1, 12, 12), (0.4,), (0.2,))
    _, facts = small(folder, tmp_path, mean=[0.1, 0.2, 0.3])
    assert facts["mean"] == (0.1, 0.2, 0.3) and facts["std"] == (0.5, 0.5, 0.5)


def break_it(folder: Path, how: str) -> dict:
    """Make one thing wrong; the options to load with."""
    ant = folder / "train" / "ant"
    if how == "an empty class":
        (folder / "train" / "dog").mkdir()
    elif how == "a class without pictures":
        for path in ant.iterdir():
            path.rename(path.with_suffix(".txt"))
    elif how == "a class unknown to train":
        (folder / "test" / "cow").rename(folder / "test" / "dog")
    elif how == "a picture in no class":
        (ant / "000.png").rename(folder / "train" / "000.png")
    elif how == "one class":
        for part in ("train", "test"):
            for word in ("bee", "cow"):
                (folder / part / word).rename(folder / f"{part}-{word}")
    elif how == "no train":
        (folder / "train").rename(folder / "training")
    elif how == "an empty train":
        for path in (folder / "train").rglob("*.png"):
            path.unlink()
        for path in (folder / "train").iterdir():
            path.rmdir()
    elif how == "no test":
        (folder / "test").rename(folder / "rest")
    elif how == "val and valid":
        for name in ("val", "valid"):
            (folder / name / "ant").mkdir(parents=True)
            (folder / name / "ant" / "0.png").write_bytes(encoded(noise(4, 4)))
    elif how == "a broken picture":
        (ant / "001.png").write_bytes((ant / "001.png").read_bytes()[:50])
    elif how == "a name that is no line":
        (ant / "000.png").rename(ant / "a\nb.png")
    elif how == "a name that is no text":
        (ant / "000.png").rename(ant / os.fsdecode(b"\xff\xfe.png"))
    return {"too few classes": {"classes": 4}, "no size": {"size": 0}, "two means": {"mean": [0.1, 0.2]}}.get(
        how, {"std": [0.0]} if how == "no std" else {"channels": 2} if how == "two channels" else {}
    )


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("an empty class", "train/dog: is a class folder without pictures"),
        ("a class without pictures", "train/ant: is a class folder without pictures"),
        ("a class unknown to train", "test: has a class that train/ lacks (found 'dog')"),
        ("a picture in no class", "train/000.png: is in no class folder; allowed: train/<class>/000.png"),
        ("one class", "train: has a single class, so there is nothing to tell apart (found 'ant')"),
        ("no train", "holds no pictures in train/<class>/"),
        ("an empty train", "holds no pictures in train/<class>/"),
        ("no test", "holds no test pictures; allowed: test/ or val/ beside train/"),
        ("val and valid", "holds both val/ and valid/"),
        ("a broken picture", "train/ant/001.png: is not a complete picture"),
        ("a name that is no line", "is not one line of UTF-8"),
        ("a name that is no text", "is not one line of UTF-8"),
        ("too few classes", "data.classes: "),
        ("no size", "data.size: must be at least 1 (found 0)"),
        ("two means", "does not fit the channels"),
        ("no std", "does not fit the channels"),
        ("two channels", "data.channels: a picture is grey or has three colours (found 2)"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_sentence(tmp_path, how, sentence):
    folder = coloured(tmp_path / "set", {"train": 3, "test": 2})
    options = {"classes": 3, "size": 8} | break_it(folder, how)
    with pytest.raises(UserError) as error:
        image_folder_module.image_folder(lambda _: folder, **options)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_cannot_be_read_is_not_skipped(tmp_path, monkeypatch):
    folder = coloured(tmp_path / "set", {"train": 3, "test": 2})
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"train/bee: cannot be read \(Permission denied\)|test/bee: cannot be read"):
        small(folder, tmp_path)


@pytest.mark.parametrize("evil", ["../train/ant/9.png", "/train/ant/9.png", "train/ant/../../../9.png"])
def test_archives_that_lead_out_of_their_folder_are_refused_and_nothing_is_written(tmp_path, evil):
    archive = packed(coloured(tmp_path / "set", {"train": 2, "test": 1}), tmp_path / "evil.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(evil, encoded(noise(8, 8)))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="leads out of the folder"):
        small(archive, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_is_no_archive_and_a_repeated_member_are_refused(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(UserError, match=r"text.zip: is not a complete tar or zip archive"):
        small(tmp_path / "text.zip", tmp_path)
    folder = coloured(tmp_path / "set", {"train": 2, "test": 1})
    archive = packed(folder, tmp_path / "twice.tar.gz")
    with tarfile.open(tmp_path / "twice.tar", "w") as file:
        for _ in range(2):
            for path in sorted(folder.rglob("*.png")):
                file.add(path, path.relative_to(folder).as_posix())
    with pytest.raises(UserError, match=r"has the member 'test/ant/000.png' twice"):
        small(tmp_path / "twice.tar", tmp_path)
    assert small(archive, tmp_path)


def test_too_much_for_one_array_asks_to_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder_module, "LARGEST", 9 * 3 * 64 - 1)
    folder = coloured(tmp_path / "set", {"train": 2, "test": 1})
    with pytest.raises(UserError, match=r"GiB when decoded; set data.streamed or a smaller size"):
        small(folder, tmp_path)
    assert "files" in small(folder, tmp_path, streamed=True)[0]


def test_without_a_place_the_error_says_what_to_name(tmp_path):
    with pytest.raises(UserError, match=r"data set image_folder: needs a folder .* config.yaml"):
        build("image_folder", folder=None, cache=tmp_path)


# streamed ------------------------------------------------------------------------------------------------------------


def files(arrays) -> list[str]:
    return arrays["files"].tobytes().decode().split("\n")


def test_streamed_names_are_the_rows_that_decoding_would_give(tmp_path):
    folder = coloured(tmp_path / "set", {"train": 5, "val": 2, "test": 2})
    (arrays, _), (streamed, facts) = small(folder, tmp_path), small(folder, tmp_path, streamed=True)
    assert facts["streamed"] and facts["root"] == str(folder.resolve())
    names = files(streamed)
    decoded = [decode_square((folder / name).read_bytes(), 3, 8, name) for name in names]
    assert (np.stack(decoded) == arrays["images"]).all()
    assert all((arrays[key] == streamed[key]).all() for key in ("labels", "train", "validation", "test"))


def test_imagenet_lists_its_pictures_and_decodes_none(tmp_path):
    for part, count in (("train", 10), ("val", 2)):
        for wnid in ("n01440764", "n01443537", "n02102040"):
            (tmp_path / "set" / part / wnid).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "set" / part / wnid / f"{wnid}_{number}.JPEG").write_bytes(b"not decoded here")
    arrays, facts = made(tmp_path / "set", tmp_path, "imagenet", classes=3)
    assert facts["shape"] == (3, 224, 224) and facts["classes"] == 3 and facts["streamed"]
    assert (facts["mean"], facts["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    names, wnids = files(arrays), ["n01440764", "n01443537", "n02102040"]
    assert [name.split("/")[1] for name in names] == [wnids[label] for label in arrays["labels"]]
    assert len(set(names)) == 36 and "images" not in arrays
    assert all(names[row].startswith("val/") for row in arrays["test"]) and len(arrays["test"]) == 6
    assert len(arrays["validation"]) == 3 and len(arrays["train"]) == 27
    with pytest.raises(UserError, match=r"data.classes: .* has 3 class folders \(found 1000\)"):
        made(tmp_path / "set", tmp_path, "imagenet")


def test_imagenet_as_distributed_or_packed_says_which_layout_is_wanted(tmp_path):
    folder = coloured(tmp_path / "set", {"train": 1})
    (folder / "val").mkdir()
    (folder / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(UserError, match=r"is in no class folder; allowed: val/<class>/ILSVRC2012_val_00000001.JPEG"):
        made(folder, tmp_path, "imagenet", classes=3)
    with pytest.raises(UserError, match=r"streamed from a folder: unpack it to train/<wnid>/ and val/<wnid>/"):
        made(packed(folder, tmp_path / "set.zip"), tmp_path, "imagenet", classes=3)


# Tiny-ImageNet -------------------------------------------------------------------------------------------------------

WNIDS = ["n09", "n01", "n05"]  # labels are positions in this list, not in the sorted one


def tiny(tmp_path: Path, **changes: bytes | None) -> Path:
    """A small archive in the official layout: the grey level of a picture is ten times its label, plus its number."""
    content: dict[str, bytes | None] = {"tiny/wnids.txt": "\n".join(WNIDS).encode(), "tiny/words.txt": b"n09\tten"}
    lines = []
    for label, wnid in enumerate(WNIDS):
        content[f"tiny/train/{wnid}/{wnid}_boxes.txt"] = b"x 0 0 1 1"
        for number in range(5):
            image = Image.new("L", (64, 64), 50 * label + number)
            content[f"tiny/train/{wnid}/images/{wnid}_{number}.JPEG"] = encoded(image, "JPEG", quality=100)
    for number, label in enumerate([2, 0, 1, 1, 0, 2]):
        image = Image.new("RGB", (64, 64), (50 * label + 20 + number,) * 3)
        content[f"tiny/val/images/val_{number}.JPEG"] = encoded(image, "JPEG", quality=100)
        lines.append(f"val_{number}.JPEG\t{WNIDS[label]}\t0\t0\t63\t63\n")
    content["tiny/val/val_annotations.txt"] = "".join(lines).encode()
    content |= {f"tiny/{name.replace('__', '/')}": data for name, data in changes.items()}
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)
    return tmp_path / "tiny.zip"


def test_tiny_imagenet_labels_are_positions_in_wnids_and_val_is_the_test_part_by_class(tmp_path):
    path = tiny(tmp_path)
    images, labels, n_train = tiny_module.tiny_imagenet(lambda _: path, classes=3)[:3]
    assert images.shape == (21, 3, 64, 64) and n_train == 15
    assert (images == images[:, :1, :1, :1]).all()  # grey JPEGs in three equal channels
    grey = images[:, 0, 0, 0].astype(int)
    assert (grey // 50 == labels).all()
    assert sorted(grey[:15]) == [50 * label + number for label in range(3) for number in range(5)]
    assert grey[15:].tolist() == [21, 24, 72, 73, 120, 125] and labels[15:].tolist() == [0, 0, 1, 1, 2, 2]
    assert labels[:15].tolist() != sorted(labels[:15])


def test_tiny_imagenet_takes_the_first_classes(tmp_path):
    path = tiny(tmp_path)
    images, labels, n_train = tiny_module.tiny_imagenet(lambda _: path, classes=2)[:3]
    assert len(images) == 14 and n_train == 10 and (images[:, 0, 0, 0] // 50 == labels).all()
    assert set(labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("classes", "changes", "sentence"),
    [
        (4, {}, r"data.classes: .* cannot give as many \(found 4\); allowed: 2 to 3"),
        (1, {}, r"data.classes: .* cannot give as many"),
        (3, {"wnids.txt": None}, "holds no wnids.txt"),
        (3, {"val__val_annotations.txt": None}, "holds no tiny/val/val_annotations.txt"),
        (3, {"val__images__val_0.JPEG": None}, "val_annotations.txt, line 1: names no picture of the archive"),
        (3, {"val__val_annotations.txt": b"val_1.JPEG\tn09\n"}, "val: has no pictures of n01, n05"),
        (3, {"wnids.txt": b"n09\nn01\nn05\nn77\n"}, None),
        (4, {"wnids.txt": b"n09\nn01\nn05\nn77\n"}, "train: has no pictures of n77"),
        (3, {"train__n01__images__n01_3.JPEG": b"broken"}, "n01_3.JPEG: is not a complete picture"),
    ],
)
def test_a_wrong_tiny_imagenet_is_refused_in_one_sentence(tmp_path, classes, changes, sentence):
    path = tiny(tmp_path, **changes)
    if sentence is None:
        assert tiny_module.tiny_imagenet(lambda _: path, classes=classes)
        return
    with pytest.raises(UserError, match=sentence):
        tiny_module.tiny_imagenet(lambda _: path, classes=classes)


def test_another_archive_under_the_official_name_is_refused_by_its_digest(tmp_path):
    official = tiny(tmp_path).rename(tmp_path / "tiny-imagenet-200.zip")
    with pytest.raises(UserError, match=r"has MD5 [0-9a-f]{32}, expected 90528d7ca1a48142e341f4ef8d21d0de"):
        made(official.parent, tmp_path, "tiny_imagenet")
    with pytest.raises(UserError, match="data.archive: is no archive of tiny_imagenet"):
        tiny_module.tiny_imagenet(lambda _: official, archive="other.zip")  # type: ignore[arg-type]


@real_tiny
def test_the_real_archive_has_five_hundred_and_fifty_of_each_class_in_fixed_parts():
    pictures = tiny_module.listed(REAL, 20)
    assert pictures.n_train == 10000 and pictures.n_validation == 0
    assert np.bincount(pictures.labels[:10000]).tolist() == [500] * 20
    assert pictures.labels[10000:].tolist() == [label for label in range(20) for _ in range(50)]
    assert len(set(pictures.names)) == 11000
    held = np.bincount(pictures.labels[9000:10000], minlength=20)
    assert held.min() >= 25 and held.max() <= 80  # 50 expected, 6.7 the deviation of a fair draw
    assert pictures.names == tiny_module.listed(REAL, 20).names


@real_tiny
def test_real_pictures_are_decoded_and_labelled_as_pillow_and_the_annotations_say(tmp_path):
    options = {"classes": 2, "archive": REAL.name}
    arrays, facts = build("tiny_imagenet", options=options, folder=str(REAL.parent), cache=tmp_path)
    assert facts["shape"] == (3, 64, 64) and facts["classes"] == 2 and facts["mean"] == (0.5, 0.5, 0.5)
    assert [len(arrays[part]) for part in ("train", "validation", "test")] == [900, 100, 100]
    with zipfile.ZipFile(REAL) as archive:
        wnid = archive.read("tiny-imagenet-20/wnids.txt").decode().split()[0]
        lines = archive.read("tiny-imagenet-20/val/val_annotations.txt").decode().splitlines()
        mine = sorted(line.split("\t")[0] for line in lines if line.split("\t")[1] == wnid)
        names = [name for name in archive.namelist() if f"train/{wnid}/images/" in name]
        read = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        train = sorted(chw(image.convert("RGB")).tobytes() for image in read)
        test = [Image.open(io.BytesIO(archive.read(f"tiny-imagenet-20/val/images/{name}"))) for name in mine]
    first = arrays["images"][:1000][arrays["labels"][:1000] == 0]
    assert sorted(image.tobytes() for image in first) == train
    assert arrays["labels"][1000:].tolist() == [0] * 50 + [1] * 50
    assert (arrays["images"][1000:1050] == np.stack([chw(image.convert("RGB")) for image in test])).all()
