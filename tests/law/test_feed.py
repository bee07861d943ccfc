"""What the loop is fed: order, augmentation of training batches only, and that nothing depends on how it is cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams, stream
from sparse_ortho.training.clock import Clock
from sparse_ortho.training.evaluate import evaluate
from sparse_ortho.training.feed import feed
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.ranks import Alone
from sparse_ortho.training.resident import FLOAT_LIMIT, few, resident
from sparse_ortho.training.state import Run

CPU = torch.device("cpu")
FACTS = {
    "name": "toy",
    "shape": (3, 6, 8),
    "classes": 3,
    "mean": (0.4, 0.5, 0.6),
    "std": (0.25, 0.2, 0.3),
    "scale": 255,
}
N = 23
CHANGES: dict[str, Any] = {"crop": 2, "flip": True, "cutout": 3, "rotation": 20.0, "contrast": 0.3, "hue": 0.1}


def toy(seed=1):
    """Images that can be told apart by any crop of them: their labels are their indices."""
    rng, n = np.random.default_rng(seed), N + 5 + 7
    images = rng.integers(0, 256, (n, 3, 6, 8)).astype(np.uint8)
    ends = np.cumsum([0, N, 5, 7])
    parts = {part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(("train", "validation", "test"))}
    return {"images": images, "labels": np.arange(n), **parts}


def run_of(epoch=0, step=0, seed=0, fixed=None, data=None, limit=FLOAT_LIMIT, facts=None, **options: Any) -> Run:
    """As much of a run as is fed."""
    chosen = TrainOptions(**{"batch_size": 5, **options})
    splits = resident(data or toy(), facts or FACTS, CPU, limit)
    clock = Clock(chosen, len(splits["train"]))
    clock.epoch, clock.step = epoch, step
    streams = Streams(seed, fixed or {})
    fields = {"splits": splits, "clock": clock, "options": chosen, "streams": streams, "device": CPU, "ranks": Alone()}
    return cast(Run, SimpleNamespace(**fields))


def fed(**given: Any):
    return [(x.clone(), y.clone()) for x, y in feed(run_of(**given))]


def by_image(batches):
    """Index of an image -> what it became."""
    return {int(label): image for x, y in batches for image, label in zip(x, y, strict=True)}


def normalised(images):
    mean, std = (np.array(FACTS[key])[:, None, None] for key in ("mean", "std"))
    return (images / 255 - mean) / std


# --- order


@pytest.mark.parametrize("options", [{}, CHANGES])
def test_an_epoch_shows_every_image_once_in_the_order_of_its_stream(options):
    for epoch in (0, 3):
        batches = fed(epoch=epoch, seed=4, **options)
        assert [len(y) for _, y in batches] == [5, 5, 5, 5, 3]
        shown = torch.cat([y for _, y in batches]).tolist()
        assert shown == stream(4, "order", f"epoch{epoch}").permutation(N).tolist()


@pytest.mark.parametrize("options", [{}, CHANGES])
def test_drop_last_leaves_out_the_small_batch_and_nothing_else(options):
    whole, dropped = fed(**options), fed(drop_last=True, **options)
    assert len(dropped) == 4
    for (x, y), (x_again, y_again) in zip(whole, dropped, strict=False):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)


@pytest.mark.parametrize("options", [{}, CHANGES])
@pytest.mark.parametrize("step", [1, 4, 5])
def test_a_resumed_epoch_gives_the_batches_that_were_left(options, step):
    whole, rest = fed(epoch=2, **options), fed(epoch=2, step=step, **options)
    assert len(rest) == len(whole) - step
    for (x, y), (x_again, y_again) in zip(whole[step:], rest, strict=True):
        assert torch.equal(x, x_again) and torch.equal(y, y_again)


# --- augmentation


def test_images_are_as_they_are_unless_something_is_asked_for():
    data = toy()
    for limit in (FLOAT_LIMIT, 0):
        for label, image in by_image(fed(data=data, limit=limit)).items():
            np.testing.assert_allclose(image.numpy(), normalised(data["images"][label]), atol=1e-6)


def test_every_fed_image_is_a_crop_of_its_own():
    data = toy()
    padded = np.pad(data["images"], [(0, 0), (0, 0), (2, 2), (2, 2)], mode="reflect")
    offsets = set()
    for epoch in range(4):
        for label, image in by_image(fed(data=data, epoch=epoch, crop=2, flip=True)).items():
            parts = {(y, x): padded[label, :, y : y + 6, x : x + 8] for y in range(5) for x in range(5)}
            parts |= {(*at, "flipped"): part[:, :, ::-1] for at, part in parts.items()}
            same = [at for at, part in parts.items() if np.allclose(image.numpy(), normalised(part), atol=1e-5)]
            assert len(same) == 1
            offsets |= set(same)
    assert len(offsets) > 30  # of 50, with 92 draws


def test_the_batch_size_does_not_change_what_an_image_becomes():
    first, *others = (by_image(fed(epoch=1, batch_size=size, **CHANGES)) for size in (5, 1, 7, 100))
    for other in others:
        assert first.keys() == other.keys() and len(first) == N
        for label, image in first.items():
            torch.testing.assert_close(other[label], image, rtol=0, atol=1e-5)


def test_seeds_and_epochs_change_it_and_a_fixed_seed_keeps_it():
    def share(a, b):
        return np.mean([np.allclose(a[label], b[label], atol=1e-5) for label in a])

    fixed = {"augmentation": 9}
    base, kept = by_image(fed(seed=1, **CHANGES)), by_image(fed(seed=1, fixed=fixed, **CHANGES))
    assert share(base, by_image(fed(seed=2, **CHANGES))) < 0.1
    assert share(base, by_image(fed(seed=1, epoch=1, **CHANGES))) < 0.1
    assert share(base, kept) < 0.1
    assert share(kept, by_image(fed(seed=2, fixed=fixed, **CHANGES))) == 1  # in another order
    orders = [torch.cat([y for _, y in fed(seed=seed, fixed=fixed, **CHANGES)]).tolist() for seed in (1, 2)]
    assert orders[0] != orders[1]
    assert share(base, by_image(fed(seed=1, fixed={"order": 5}, **CHANGES))) == 1


def test_only_training_batches_are_augmented():
    """A model that keeps what it is shown: everything that an evaluation shows is as it is in the files."""

    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 3)
            self.trained: list[torch.Tensor] = []
            self.evaluated: list[torch.Tensor] = []

        def forward(self, x):
            (self.trained if self.training else self.evaluated).append(x.clone())
            return self.head(x.mean((2, 3)))

    data = toy()
    data["labels"] %= 3
    model, options = Keeps(), TrainOptions(epochs=2, batch_size=5, **CHANGES)
    train_seed(model, resident(data, FACTS, CPU), None, options, Streams(0), CPU)
    rest = data["images"][N:]
    expected = np.concatenate([data["images"], rest, rest])  # all at the start, then validation and test
    np.testing.assert_allclose(torch.cat(model.evaluated), normalised(expected), atol=1e-6)
    shown = torch.cat(model.trained)
    assert len(shown) == 2 * N
    clean = torch.from_numpy(normalised(data["images"][:N])).float()
    assert min(float((image - clean).abs().amax((1, 2, 3)).min()) for image in shown) > 0.1


def test_splits_that_fed_an_augmented_run_feed_a_plain_one_with_clean_images():
    """Cells of a bundle share them, whichever comes first."""
    data = toy()
    splits = resident(data, FACTS, CPU)
    for options in (CHANGES, {}, CHANGES, {}):
        run = run_of(data=data, **options)
        run.splits = splits
        clean = [
            np.allclose(image, normalised(data["images"][label]), atol=1e-6)
            for label, image in by_image(feed(run)).items()
        ]
        assert all(clean) if not options else not any(clean)


def test_an_evaluation_may_be_the_first_to_look():
    """What is normalised in inference mode could not be trained on."""
    splits, model = resident(toy(), FACTS, CPU), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 35))
    evaluate(model, splits)
    with torch.inference_mode():
        splits["train"].take(torch.tensor([0]))
    x, y = splits["train"].take(torch.tensor([3, 1]))
    torch.nn.functional.cross_entropy(model(x), y).backward()
    assert not splits["train"].x.is_inference() and not splits["test"].x.is_inference()


def test_random_resized_is_for_streamed_sets():
    with pytest.raises(UserError, match=r"^train\.random_resized: is for streamed data sets"):
        fed(random_resized=True)


# --- tables


def table():
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(12, 4)) * [1, 10, 100, 0.1] + [0, 5, -50, 1]).astype(np.float32)
    parts = {"train": np.arange(8), "validation": np.arange(8, 10), "test": np.arange(10, 12)}
    return {"images": rows, "labels": np.arange(12), **parts}


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.0, 5.0, -50.0, 1.0), (1.0, 10.0, 100.0, 0.1)), ((0.5,), (2.0,)), ((0.5,), (1.0, 2.0, 3.0, 4.0))],
)
@pytest.mark.parametrize("limit", [FLOAT_LIMIT, 0])
def test_tables_are_normalised_column_by_column(mean, std, limit):
    data, facts = table(), {"shape": (4,), "mean": mean, "std": std, "scale": 1.0}
    expected = (data["images"] - np.array(mean)) / np.array(std)
    found = by_image(fed(data=data, facts=facts, limit=limit))
    assert len(found) == 8
    for label, row in found.items():
        np.testing.assert_allclose(row, expected[label], rtol=1e-5, atol=1e-5)
    splits = resident(data, facts, CPU, limit)
    np.testing.assert_allclose(torch.cat([x for x, _ in splits["test"].slices(1)]), expected[10:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(few(data, facts, np.array([9, 0]))[0], expected[[9, 0]], rtol=1e-5, atol=1e-5)


def test_tables_are_not_augmented():
    facts = {"shape": (4,), "mean": (0.0,), "std": (1.0,), "scale": 1.0}
    with pytest.raises(UserError, match=r"^train\.flip: changes images"):
        fed(data=table(), facts=facts, flip=True)
