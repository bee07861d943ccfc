"""Streamed pictures against torchvision's transforms, file by file; threads, faults and interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from sparse_ortho.errors import UserError
from sparse_ortho.plan.digest import ROOT
from sparse_ortho.streams import Streams
from sparse_ortho.training import streamed
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import BATCH, batch_size, evaluate
from sparse_ortho.training.feed import feed
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.resident import Split, few, resident
from sparse_ortho.training.state import Run
from sparse_ortho.training.streamed import Pictures, box, random_views

CPU = torch.device("cpu")
SIZE, N = 28, 17  # 28 x 256 / 224 = 32
SIZES = [(40, 30), (30, 40), (31, 57), (32, 32), (90, 20), (28, 33), (9, 12)]  # one smaller than what comes out
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FACTS = {"shape": (3, SIZE, SIZE), "classes": 3, "mean": MEAN, "std": STD, "scale": 255.0, "streamed": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small ImageFolder: JPEG and PNG, of colour, grey, CMYK and with a palette, also with spaces and umlauts."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(N + 4 + 5):
        width, height = SIZES[i % len(SIZES)]
        noise = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        picture = picture.convert({3: "L", 5: "CMYK"}.get(i, "RGB"))
        if i == 6:
            picture = picture.quantize(16)
        path = root / f"class {i % 3}" / (f"bild ä{i}.png" if i % 4 == 2 else f"{i}.JPEG")
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
    return root


def data_of(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """As stage data writes it; the label of a picture is its index."""
    names = sorted((str(path.relative_to(folder)) for path in folder.rglob("*.*")), key=lambda n: n.rpartition("/")[2])
    joined = np.frombuffer("\n".join(names).encode(), np.uint8)
    parts = {"train": np.arange(N), "validation": np.arange(N, N + 4), "test": np.arange(N + 4, N + 9)}
    return {"files": joined, "labels": np.arange(len(names)), **parts}, {**FACTS, "root": str(folder)}


def files_of(folder: Path) -> list[Path]:
    return [folder / name for name in data_of(folder)[0]["files"].tobytes().decode().split("\n")]


def run_of(folder: Path, epoch=0, step=0, seed=0, **options: Any) -> Run:
    chosen = TrainOptions(**{"batch_size": 4, **options})
    splits = resident(*data_of(folder), CPU)
    clock = Clock(chosen, N)
    clock.epoch, clock.step = epoch, step
    fields = {"splits": splits, "clock": clock, "options": chosen, "streams": Streams(seed), "device": CPU}
    return cast(Run, SimpleNamespace(**fields, ranks=Alone()))


def by_image(batches):
    return {int(label): image for x, y in batches for image, label in zip(x, y, strict=True)}


def evaluated(path: Path) -> torch.Tensor:
    """As torchvision evaluates on ImageNet, at this size."""
    with Image.open(path) as file:
        picture = tv.resize(file.convert("RGB"), [32], InterpolationMode.BILINEAR)
    return tv.normalize(tv.to_tensor(tv.center_crop(picture, [SIZE, SIZE])), MEAN, STD)


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


# --- what is seen


def test_evaluations_see_what_torchvision_makes_of_each_file(folder):
    splits, files = resident(*data_of(folder), CPU), files_of(folder)
    for part, start, n in (("train", 0, N), ("validation", N, 4), ("test", N + 4, 5)):
        batches = list(splits[part].slices(3))
        assert len(splits[part]) == n and [len(y) for _, y in batches] == [min(3, n - i) for i in range(0, n, 3)]
        assert torch.cat([y for _, y in batches]).tolist() == list(range(start, start + n))
        for label, image in by_image(batches).items():
            torch.testing.assert_close(image, evaluated(files[label]), rtol=0, atol=1e-5)


def test_taken_and_few_images_are_those_of_the_files(folder):
    data, facts = data_of(folder)
    for x, y in (resident(data, facts, CPU)["train"].take(torch.tensor([6, 2])), few(data, facts, np.array([6, 2]))):
        assert y.tolist() == [6, 2]
        for image, label in zip(x, y, strict=True):
            torch.testing.assert_close(image, evaluated(files_of(folder)[label]), rtol=0, atol=1e-5)


def test_an_empty_part_has_no_batches(folder):
    data, facts = data_of(folder)
    splits = resident({**data, "validation": np.arange(0)}, facts, CPU)
    assert list(splits["validation"].slices(3)) == [] and len(splits["validation"]) == 0


def test_grey_pictures_come_out_with_one_channel(folder):
    data, facts = data_of(folder)
    x, _ = few(data, {**facts, "shape": (1, SIZE, SIZE), "mean": (0.0,), "std": (1.0,)}, np.array([2]))
    with Image.open(files_of(folder)[2]) as file:
        picture = tv.resize(file.convert("L"), [32], InterpolationMode.BILINEAR)
    torch.testing.assert_close(x[0], tv.to_tensor(tv.center_crop(picture, [SIZE, SIZE])), rtol=0, atol=1e-6)


def test_training_sees_the_boxes_that_were_drawn_resized_and_flipped(folder):
    run, files = run_of(folder, epoch=2, random_resized=True, flip=True), files_of(folder)
    views, flipped = random_views(run.streams, 2, N), run.streams("augmentation", "epoch2/flip").random(N) < 0.5
    shown = by_image(feed(run))
    assert len(shown) == N and 0 < flipped.sum() < N
    for row, image in shown.items():
        with Image.open(files[row]) as file:
            left, top, right, bottom = box(*file.size, views[row])
            size, place = [SIZE, SIZE], (top, left, bottom - top, right - left)
            picture = tv.resized_crop(file.convert("RGB"), *place, size, InterpolationMode.BILINEAR)
        picture = tv.hflip(picture) if flipped[row] else picture
        torch.testing.assert_close(image, tv.normalize(tv.to_tensor(picture), MEAN, STD), rtol=0, atol=1e-5)


def test_without_random_resized_training_sees_the_centre(folder):
    for row, image in by_image(feed(run_of(folder))).items():
        torch.testing.assert_close(image, evaluated(files_of(folder)[row]), rtol=0, atol=1e-5)


def test_other_changes_act_on_streamed_images_too(folder):
    files, run = files_of(folder), run_of(folder, crop=3, crop_fill="zero", cutout=2)
    offsets = run.streams("augmentation", "epoch0/crop").integers(0, 7, (N, 2))
    centres = run.streams("augmentation", "epoch0/cutout").integers(0, (SIZE, SIZE), (N, 2))
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    for row, image in by_image(feed(run)).items():
        padded = black[:, None, None].repeat(1, SIZE + 6, SIZE + 6)
        padded[:, 3:-3, 3:-3] = evaluated(files[row])
        (y, x), (v, u) = offsets[row], centres[row]
        expected = padded[:, y : y + SIZE, x : x + SIZE].clone()
        expected[:, max(0, v - 1) : v + 1, max(0, u - 1) : u + 1] = 0
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


# --- the boxes


def test_a_box_is_what_its_numbers_say():
    """Of 400 x 300: area (.08 + .92 / 4) 120,000 = 37,200, ratio 3/4 (16/9)^.5 = 1: 193 x 193, at half of the rest."""
    numbers = np.full(22, 0.5)
    numbers[:2] = 0.25, 0.5
    assert box(400, 300, numbers) == (104, 54, 104 + 193, 54 + 193)
    numbers[:4] = 0.999, 0, 0.25, 0.5  # the first attempt, 300 x 400, does not fit
    assert box(400, 300, numbers) == (104, 54, 104 + 193, 54 + 193)
    numbers[-2:] = 0, 0.9999
    assert box(400, 300, numbers) == (0, 107, 193, 300)
    assert box(400, 400, np.zeros(22)) == (0, 0, 98, 131)


@pytest.mark.parametrize(
    ("size", "expected"), [((400, 100), (133, 0, 266, 100)), ((100, 400), (0, 133, 100, 266)), ((1, 1), (0, 0, 1, 1))]
)
def test_a_picture_that_no_box_fits_gives_its_centre(size, expected):
    numbers = np.full(22, 0.999999)
    numbers[-2:] = 0.3
    assert box(*size, numbers) == expected


@pytest.mark.parametrize("size", [(400, 300), (64, 64), (150, 500)])
def test_boxes_are_distributed_as_those_of_torchvision(size):
    n = 3000
    torch.manual_seed(0)
    image = torch.empty(3, size[1], size[0])
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    )  # y, x, h, w
    left, top, right, bottom = np.array([box(*size, view) for view in random_views(Streams(0), 0, n)]).T
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= size[0] and bottom.max() <= size[1]
    ours = [top, left, bottom - top, right - left]
    for our, their in zip(ours, theirs.T, strict=True):
        assert stats.ks_2samp(our, their).pvalue > 1e-6
    assert stats.ks_2samp(ours[2] * ours[3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-6
    assert stats.ks_2samp(ours[3] / ours[2], theirs[:, 3] / theirs[:, 2]).pvalue > 1e-6


# --- what does not matter


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [0, 3])
def test_threads_and_read_ahead_change_nothing(folder, monkeypatch, threads, ahead):
    options: dict[str, Any] = {"random_resized": True, "flip": True, "hue": 0.1, "seed": 3}
    expected = list(feed(run_of(folder, **options)))
    monkeypatch.setattr(streamed, "workers", lambda: threads)
    monkeypatch.setattr(streamed, "AHEAD", ahead)
    for (x, y), (x_again, y_again) in zip(expected, feed(run_of(folder, **options)), strict=True):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)


def test_a_resumed_epoch_gives_the_batches_that_were_left(folder):
    whole, rest = (list(feed(run_of(folder, epoch=1, step=step, random_resized=True))) for step in (0, 3))
    assert [len(y) for _, y in whole] == [4, 4, 4, 4, 1]
    for (x, y), (x_again, y_again) in zip(whole[3:], rest, strict=True):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)


def test_the_batch_size_does_not_change_what_an_image_becomes(folder):
    one, other = (by_image(feed(run_of(folder, batch_size=size, random_resized=True, flip=True))) for size in (4, 9))
    assert all(torch.equal(image, other[row]) for row, image in one.items())
    epochs = by_image(feed(run_of(folder, epoch=1, random_resized=True, flip=True)))
    assert not any(torch.equal(image, epochs[row]) for row, image in one.items())


def test_no_more_is_read_ahead_than_a_few_batches(folder, monkeypatch):
    seen = []
    real = streamed.opened
    monkeypatch.setattr(streamed, "opened", lambda path, mode: (seen.append(path), real(path, mode))[1])
    pictures = Pictures(folder, [str(path) for path in files_of(folder)], (3, SIZE, SIZE))
    batches = pictures.batches([[i] for i in range(N)])
    for taken in range(1, 4):
        next(batches)
        assert taken <= len(seen) <= taken + streamed.AHEAD
    batches.close()


def test_a_streamed_run_trains(folder):
    data, facts = data_of(folder)
    data["labels"] %= 3
    splits = resident(data, facts, CPU)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 3))
    before = evaluate(model, splits)
    options = TrainOptions(epochs=2, batch_size=4, lr=0.01, random_resized=True, flip=True)
    outcome = train_seed(model, splits, None, options, Streams(0), CPU)
    assert outcome.record["status"] == "ok" and len(outcome.curves) == 3
    assert outcome.curves[0]["test_loss"] == before["test"][0] != outcome.curves[2]["test_loss"]
    assert alive() == []


# --- faults


def spoilt(folder: Path, spoil) -> tuple[Run, Path]:
    """A run whose third training picture was spoilt after its data were made."""
    run = run_of(folder, random_resized=True)
    path = files_of(folder)[2]
    spoil(path)
    return run, path


@pytest.fixture
def own(folder, tmp_path) -> Path:
    for path in folder.rglob("*.*"):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "is missing, though the data set was made with it; make its data again"),
        (lambda path: path.write_bytes(b"no picture"), "is no picture that can be read"),
        (lambda path: path.write_bytes(b""), "is no picture that can be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "cannot be decoded ("),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be decoded ("),
    ],
)
def test_a_spoilt_picture_ends_in_one_sentence_that_names_it(own, spoil, problem):
    run, path = spoilt(own, spoil)
    with pytest.raises(UserError) as error:
        list(feed(run))
    assert str(error.value).startswith(f"{path}: {problem}") and "\n" not in str(error.value)
    assert alive() == []


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_leaving_early_leaves_no_threads(folder, taken):
    batches = feed(run_of(folder, random_resized=True))
    for _ in range(taken):
        next(batches)
        assert alive()
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert alive() == []


def test_an_error_in_a_step_leaves_no_threads(folder):
    def train():
        for _ in feed(run_of(folder, random_resized=True)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert alive() == []


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from sparse_ortho.training.streamed import Pictures

files = sorted(str(path) for path in Path(sys.argv[1]).rglob("*.*")) * 2000
try:
    for images in Pictures(Path("/"), files, (3, 16, 16)).batches([range(i, i + 8) for i in range(0, len(files), 8)]):
        os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    sys.exit(f"interrupted with {left}")
"""


def test_an_interrupted_process_ends_without_its_threads(folder):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr.strip()) == (1, "interrupted with []")


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (64, 16)])
def test_threads_are_as_many_as_the_process_may_use_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert streamed.workers() == expected
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert streamed.workers() == expected


# --- a training


def test_a_training_decodes_its_pictures_to_train_on_them_and_not_before(folder, monkeypatch):
    """An evaluation of the whole training part would cost an epoch of decoding for the first point of a curve."""
    data, facts = data_of(folder)
    decoded: list[int] = []
    batches = Pictures.batches

    def counted(self, rows, views=None):
        decoded.append(sum(map(len, rows)))
        return batches(self, rows, views)

    monkeypatch.setattr(Pictures, "batches", counted)
    splits = resident({**data, "labels": np.arange(len(data["labels"])) % 3}, facts, CPU)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE**2, 3))
    options = TrainOptions(epochs=2, batch_size=4, lr=0.001, random_resized=True, flip=True)
    outcome = train_seed(model, splits, None, options, Streams(0), CPU)
    assert outcome.record["status"] == "ok" and outcome.record["steps"] == 10
    first, *later = outcome.curves
    assert "train_loss" not in first and first["test_loss"] is not None
    assert all(row["train_loss"] is not None for row in later)
    assert sum(decoded) == 2 * N + 3 * (4 + 5)
    idle = train_seed(model, splits, None, TrainOptions(epochs=0), Streams(0), CPU)
    assert idle.record["status"] == "ok" and idle.record["train_loss_last"] is None


def test_batches_of_an_evaluation_fit_into_memory(folder):
    splits = resident(*data_of(folder), CPU)
    assert batch_size(splits["test"]) == BATCH
    large = Split(torch.zeros(2, 3, 224, 224, dtype=torch.uint8), torch.zeros(2), torch.zeros(3), torch.ones(3))
    assert batch_size(large) == 111  # of 3 x 224 x 224 floats: 64 MB
