"""Interrupted and resumed equals uninterrupted, byte for byte, wherever the interruption falls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sparse_ortho.artifacts import canonical
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import resident
from sparse_ortho.training.stopping import Stopping

FACTS = {"shape": (1, 2, 3), "classes": 3, "mean": (0.4,), "std": (0.25,), "scale": 16.0}
OPTIONS = TrainOptions(epochs=4, batch_size=5, lr=0.05, schedule="cosine")
STEPS_PER_EPOCH = 5  # 23 images

CPU = torch.device("cpu")


class Stop(Exception):
    pass


class StopAt(Part):
    """Raises once at a chosen moment: (hook, its how-manieth call in this process); or sends itself a signal then."""

    def __init__(self, hook=None, call=0, number=None):
        self.hook, self.left, self.number = hook, call, number

    def reached(self, hook):
        if hook == self.hook:
            self.left -= 1
            if self.left == -1 and self.number:
                os.kill(os.getpid(), self.number)
            elif self.left < 0 and not self.number:
                raise Stop

    def before_step(self, run):
        self.reached("before_step")

    def after_step(self, run):
        self.reached("after_step")

    def end_epoch(self, run):
        self.reached("end_epoch")


class Average(Part):
    """A part with a state: a running mean of one weight, a counter, and draws from torch's generator."""

    def begin(self, run):
        self.mean, self.count, self.noise = torch.zeros(4, 6), 0, np.zeros(2)

    def after_step(self, run):
        self.mean += run.model.get_parameter("1.weight").detach()
        self.count += 1
        self.noise += torch.rand(2, dtype=torch.float64).numpy()

    def end_epoch(self, run):
        with torch.no_grad():
            run.model.get_parameter("1.weight").add_(self.mean / self.count, alpha=0.1)

    def state_dict(self):
        return {"mean": self.mean, "count": self.count, "noise": self.noise}

    def load_state_dict(self, state):
        self.mean, self.count, self.noise = state["mean"], state["count"], state["noise"]


class EveryFew(Checkpointer):
    """Saves at every n-th look instead of by the clock."""

    def __init__(self, folder, n):
        super().__init__(folder, 0)
        self.n, self.looks = n, 0

    def due(self):
        self.looks += 1
        return self.looks % self.n == 0


def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 17, (35, 1, 2, 3)).astype(np.uint8)
    parts = {"train": np.arange(23), "validation": np.arange(23, 28), "test": np.arange(28, 35)}
    return {"images": images, "labels": images[:, 0, 0, 0].astype(np.int64) % 3, **parts}


def run(checkpoint=None, stop=None, options=OPTIONS, seed=3, masked=True, start=0):
    """Everything that a training leaves behind, as comparable bytes. Dropout draws, BatchNorm has buffers."""
    torch.set_num_threads(1)  # bits are equal for equal threads only, and other tests set them
    torch.manual_seed(start)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Tanh(), nn.Linear(4, 3))
    masks = {"1.weight": torch.arange(24).reshape(4, 6) % 3 > 0} if masked else None
    average = Average()
    parts = [average, stop or StopAt()]
    outcome = train_seed(
        model, resident(data(), FACTS, CPU), masks, options, Streams(seed), CPU, parts=parts, checkpoint=checkpoint
    )
    weights = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    part = {key: np.asarray(value).tobytes() for key, value in average.state_dict().items()}
    return weights, part, canonical(outcome.record), canonical(outcome.curves), torch.get_rng_state().numpy().tobytes()


@pytest.fixture(scope="module")
def whole():
    return run()


MOMENTS = [("after_step", 0), ("before_step", 3), ("after_step", 4), ("end_epoch", 0), ("before_step", 5)]
MOMENTS += [("after_step", 7), ("end_epoch", 2), ("after_step", 19), ("end_epoch", 3)]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("every", [1, 3])
def test_one_interruption(tmp_path, whole, moment, every):
    with pytest.raises(Stop):
        run(EveryFew(tmp_path, every), StopAt(*moment))
    again = EveryFew(tmp_path, every)
    assert run(again) == whole
    if every == 1 and moment != ("after_step", 0):
        assert again.resumed_at  # it did continue, and not from the start


def test_many_interruptions_at_random_moments(tmp_path, whole):
    rng, interrupted = np.random.default_rng(7), 0
    while True:
        hook = ("before_step", "after_step")[rng.integers(2)]
        try:
            result = run(Checkpointer(tmp_path, 0), StopAt(hook, int(rng.integers(1, 6))))
            break
        except Stop:
            interrupted += 1
    assert result == whole and interrupted >= 3


def test_a_killed_process(tmp_path, whole):
    code = "import sys; sys.path.insert(0, sys.argv[1]); from test_resume import slow; slow(sys.argv[2])"
    child = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)])
    try:
        while not list(tmp_path.glob("checkpoint*")) and child.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)  # some steps further, most of the time in the middle of a save
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    again = Checkpointer(tmp_path, 0)
    assert run(again) == whole and again.resumed_at


def slow(folder):
    """For the process above: 30 ms a step, all spent writing the same checkpoint again and again."""

    class Slow(Checkpointer):
        def save(self, run):
            end = time.monotonic() + 0.03
            while time.monotonic() < end:
                super().save(run)

    run(Slow(folder, 0))


def test_a_finished_run_read_again_trains_no_step(tmp_path, whole):
    assert run(Checkpointer(tmp_path, 0)) == whole
    assert run(Checkpointer(tmp_path, 0), StopAt("before_step", 0)) == whole


def test_checkpoints_change_nothing(tmp_path, whole):
    assert run(Checkpointer(tmp_path, 0)) == whole
    checkpoint = Checkpointer(tmp_path / "rarely", 3600)
    assert run(checkpoint) == whole and not checkpoint.path.exists()


def interrupted(folder):
    with pytest.raises(Stop):
        run(Checkpointer(folder, 0), StopAt("after_step", 12))
    return folder / "checkpoint.safetensors"


KINDS = {
    "adamw": TrainOptions(epochs=4, batch_size=5, lr=0.01, optimizer="adamw", schedule="cosine", warmup="3it"),
    "adam-averaged": TrainOptions(epochs=4, batch_size=5, lr=0.01, optimizer="adam", ema=0.8, clip_norm=0.5),
    "fp16": TrainOptions(epochs=4, batch_size=5, lr=0.05, precision="fp16", schedule="periodic", period="7it"),
    "augmented": TrainOptions(epochs=4, batch_size=5, lr=0.05, crop=1, flip=True, decay="weights"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_resumes_to_its_own_bytes(tmp_path, kind):
    """Interrupted at random moments, again and again, until it is through."""
    options, rng, interrupted = KINDS[kind], np.random.default_rng(11), 0
    whole = run(options=options)
    while True:
        hook = ("before_step", "after_step")[rng.integers(2)]
        try:
            result = run(Checkpointer(tmp_path, 0), StopAt(hook, int(rng.integers(2, 8))), options=options)
            break
        except Stop:
            interrupted += 1
    assert result == whole and interrupted >= 2
    assert whole != run()


@pytest.fixture
def heard():
    """Ctrl-C as in the foreground, also where these tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_asked_to_stop_a_training_finishes_its_step_saves_and_leaves(tmp_path, whole, number, status):
    with pytest.raises(SystemExit if status else KeyboardInterrupt) as left, Stopping() as stopping:
        run(Checkpointer(tmp_path, 3600, stopping), StopAt("before_step", 7, number))
    assert status is None or left.value.code == status
    again = Checkpointer(tmp_path, 3600)
    assert run(again) == whole and again.resumed_at == 8


@pytest.mark.usefixtures("heard")
def test_a_second_signal_is_not_waited_with():
    with pytest.raises(KeyboardInterrupt), Stopping():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        raise AssertionError("went on after the second signal")


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        assert stopping.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_comes_after_the_training_still_ends_the_process():
    with pytest.raises(SystemExit) as left, Stopping():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert left.value.code == 143


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_checkpoint_is_ignored(tmp_path, whole, part):
    path = interrupted(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    again = Checkpointer(tmp_path, 3600)
    assert run(again) == whole and again.resumed_at is None


@pytest.mark.parametrize("place", [12, 200, 0.3, 0.6, 0.9, -1])
def test_a_checkpoint_with_one_wrong_byte_is_ignored(tmp_path, whole, place):
    path = interrupted(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(content)
    again = Checkpointer(tmp_path, 3600)
    assert run(again) == whole and again.resumed_at is None


@pytest.mark.parametrize(
    "other",
    [{"seed": 4}, {"start": 1}, {"masked": False}, {"options": TrainOptions(epochs=4, batch_size=5, lr=0.04)}],
)
def test_the_checkpoint_of_another_run_is_ignored(tmp_path, other):
    interrupted(tmp_path)
    again = Checkpointer(tmp_path, 3600)
    assert run(again, **other) == run(**other) and again.resumed_at is None


def test_clear_removes_the_folder(tmp_path):
    path = interrupted(tmp_path / "state")
    checkpoint = Checkpointer(path.parent, 0)
    checkpoint.clear()
    checkpoint.clear()
    assert not path.parent.exists()


def test_no_pickle_is_read(tmp_path, monkeypatch):
    import pickle

    def refuse(*args, **options):
        raise AssertionError("pickle")

    interrupted(tmp_path)
    for name in ("load", "loads", "Unpickler", "dumps", "dump"):
        monkeypatch.setattr(pickle, name, refuse)
    again = Checkpointer(tmp_path, 0)
    run(again)
    assert again.resumed_at
