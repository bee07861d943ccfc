"""Several processes train what one process trains: the same masks on every rank, and the same numbers but for rounding.

Two ranks are started once and serve most of the tests; what ends them starts its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.nn import functional as F

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams
from sparse_ortho.training.checkpoint import Checkpointer
from sparse_ortho.training.evaluate import BATCH
from sparse_ortho.training.launched import launched
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.rank_group import Ranks
from sparse_ortho.training.rank_processes import together
from sparse_ortho.training.records import Outcome
from sparse_ortho.training.resident import Split
from sparse_ortho.training.synced_norm import SyncedNorm, synced_norms
from sparse_ortho.training.together import Work, follow, lead, train_together

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def answer(ranks: Ranks, device: torch.device) -> None:
    """`serve`, and functions of these tests besides."""
    while True:
        try:
            asked = ranks.tell()
        except RuntimeError:
            return
        if isinstance(asked, Work):
            follow(ranks, asked, device)
        else:
            call, given = asked
            call(ranks, *given)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    torch.set_num_threads(1)
    with together(2, "cpu", "gloo", tmp_path_factory.mktemp("pair"), answer) as ranks:
        yield ranks


def on_both(pair: Ranks, call: Callable[..., Any], *given: Any) -> Any:
    pair.tell((call, given))
    return call(pair, *given)


# --- networks and data


class Small(nn.Module):
    """A convolution, normalised or not, and a layer behind it; float64 unless told otherwise."""

    def __init__(self, norm: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float64):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(1, 4, 2, padding=1, bias=not norm)
        self.bn = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4 * 3 * 4, 3)
        self.to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.bn(self.conv(x)).tanh()).flatten(1))


def parts_of(dtype: torch.dtype = torch.float64, n: int = 23, tested: int = 7) -> dict[str, Split]:
    """A label that can be learned from two pixels; the last of 5 batches of 5 has 3 images."""
    rng = np.random.default_rng(1)

    def part(size: int) -> Split:
        images = torch.from_numpy(rng.standard_normal((size, 1, 2, 3))).to(dtype)
        y = (images[:, 0, 0, 0] > 0).long() + (images[:, 0, 0, 1] > 0)
        return Split(images, y, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))

    return {"train": part(n), "validation": part(3), "test": part(tested)}


def half(model: nn.Module) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(2)
    return {n: torch.from_numpy(rng.random(tuple(p.shape)) < 0.5) for n, p in model.named_parameters() if p.ndim > 1}


class Watch(Part):
    """On every rank: masked weights are exactly 0 after every step; in the end all ranks hold the same bits."""

    def after_step(self, run: Any) -> None:
        for name, mask in (run.masks or {}).items():
            assert not run.model.get_parameter(name).detach().masked_select(~mask).count_nonzero()

    def end(self, run: Any) -> None:
        held = {name: value.numpy().tobytes() for name, value in run.model.state_dict().items()}
        held |= {f"masks/{name}": mask.numpy().tobytes() for name, mask in (run.masks or {}).items()}
        everybody: list[Any] = [None] * run.ranks.size
        if run.ranks.size > 1:
            dist.all_gather_object(everybody, held)
            assert len({id(one) for one in everybody}) == run.ranks.size and all(one == held for one in everybody)


Trained = tuple[dict[str, torch.Tensor], Outcome]


def alone(model: nn.Module, splits: dict[str, Split], masked: bool = True, **options: Any) -> Trained:
    chosen = TrainOptions(**{"epochs": 3, "batch_size": 5, **options})
    masks = half(model) if masked else None
    outcome = train_seed(model, splits, masks, chosen, Streams(0), CPU, parts=[Watch()])
    return model.state_dict(), outcome


def by_two(
    pair: Ranks, model: nn.Module, splits: dict[str, Split], masked: bool = True, checkpoint: Any = None, **options: Any
) -> Trained:
    chosen = TrainOptions(**{"epochs": 3, "batch_size": 5, **options}, ranks=2)
    masks = half(model) if masked else None
    work = Work(model, splits, masks, chosen, Streams(0), [Watch()])
    outcome = lead(pair, work, CPU, checkpoint=checkpoint)
    return model.state_dict(), outcome


def close(found: Trained, expected: Trained, atol: float, rtol: float) -> None:
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, atol=atol, rtol=rtol, msg=lambda text, n=name: f"{n}: {text}")
    for row, other in zip(found[1].curves, expected[1].curves, strict=True):
        numbers = {name: value for name, value in other.items() if isinstance(value, int | float)}
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, abs=atol, rel=rtol)
        rest = other.keys() - numbers.keys()  # texts, and what is absent
        assert row.keys() == other.keys() and {name: row[name] for name in rest} == {name: other[name] for name in rest}
    one, other = ({k: v for k, v in o.record.items() if k not in ("status", "reason")} for o in (found[1], expected[1]))
    assert one == pytest.approx(other, abs=atol, rel=rtol) and found[1].record["status"] == "ok"


KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.2, "weight_decay": 0.01},
    "sgd-clipped-averaged": {"lr": 0.2, "clip_norm": 0.1, "ema": 0.7, "label_smoothing": 0.1},
    "adamw": {"lr": 0.01, "optimizer": "adamw", "schedule": "cosine", "decay": "not_norm"},
    "whole-batches": {"batch_size": 10, "drop_last": True},
    "batch-of-two": {"batch_size": 21, "lr": 0.2},
}


# --- two ranks are one process


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_are_one_process_in_float64(pair: Ranks, kind: str, norm: bool) -> None:
    expected = alone(Small(norm), parts_of(), **KINDS[kind])
    close(by_two(pair, Small(norm), parts_of(), **KINDS[kind]), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
def test_two_ranks_are_one_process_in_float32_to_its_rounding(pair: Ranks, norm: bool) -> None:
    kind = torch.float32
    expected = alone(Small(norm, dtype=kind), parts_of(kind))
    close(by_two(pair, Small(norm, dtype=kind), parts_of(kind)), expected, 2e-6, 2e-5)


def test_a_dense_run_of_two_ranks_is_one_process(pair: Ranks) -> None:
    close(by_two(pair, Small(), parts_of(), False), alone(Small(), parts_of(), False), 1e-12, 1e-12)


def test_augmented_images_are_those_of_one_process(pair: Ranks) -> None:
    def images() -> dict[str, Split]:
        rng = np.random.default_rng(3)
        pixels = torch.from_numpy(rng.integers(0, 256, (23, 1, 2, 3)).astype(np.uint8))
        one = torch.ones(1, 1, 1)
        train = Split(pixels, torch.arange(23) % 3, 100 * one, 50 * one)
        return {**parts_of(torch.float32), "train": train}

    options: dict[str, Any] = {"crop": 1, "flip": True, "brightness": 0.3}
    expected = alone(Small(dtype=torch.float32), images(), **options)
    close(by_two(pair, Small(dtype=torch.float32), images(), **options), expected, 2e-6, 2e-5)
    plain = alone(Small(dtype=torch.float32), images())
    assert not torch.allclose(plain[0]["fc.weight"], expected[0]["fc.weight"], atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precisions_train_as_one_process_to_their_rounding(pair: Ranks, precision: str) -> None:
    kind = torch.float32
    model, other = Small(True, dtype=kind), Small(True, dtype=kind)
    expected, _ = alone(model, parts_of(kind), lr=0.05, precision=precision)
    found, outcome = by_two(pair, other, parts_of(kind), lr=0.05, precision=precision)
    assert outcome.record["status"] == "ok"
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0.02, rtol=0.02)


class Overflow(Watch):
    """One rank's gradient leaves float16's range in the first two steps; counts the steps that were taken."""

    def begin(self, run: Any) -> None:
        self.taken = 0

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
        if self.taken == 0 and dist.get_rank() == 1 and self.left:
            self.left -= 1
            return logits.sum() * torch.finfo(torch.float32).max
        return None

    left = 2

    def after_step(self, run: Any) -> None:
        super().after_step(run)
        self.taken += 1

    def end(self, run: Any) -> None:
        super().end(run)
        assert self.taken == run.clock.steps - 2, self.taken


def test_a_step_that_overflows_on_one_rank_is_skipped_by_all(pair: Ranks) -> None:
    model = Small(dtype=torch.float32)
    options = TrainOptions(epochs=3, batch_size=5, lr=0.05, precision="fp16", ranks=2)
    lead(pair, Work(model, parts_of(torch.float32), half(model), options, Streams(0), [Overflow()]), CPU)


def test_an_evaluation_shared_by_two_ranks_has_the_bits_of_one(pair: Ranks) -> None:
    """Without a step size nothing moves; the ranks see 2 and 1 of 3 batches of the test part, the last one small."""
    splits = parts_of(tested=2 * BATCH + 17)
    _, expected = alone(Small(), splits, lr=0.0, epochs=1)
    _, found = by_two(pair, Small(), splits, lr=0.0, epochs=1)
    keys = [key for key in expected.curves[0] if key.startswith("test")]
    assert [[row[k] for k in keys] for row in found.curves] == [[row[k] for k in keys] for row in expected.curves]


def test_a_run_that_diverges_ends_on_all_ranks(pair: Ranks) -> None:
    _, outcome = by_two(pair, Small(), parts_of(), False, lr=1e200, epochs=9, weight_decay=0.1)
    assert outcome.record["status"] == "diverged" and outcome.record["epochs"] < 9
    close(by_two(pair, Small(), parts_of()), alone(Small(), parts_of()), 1e-12, 1e-12)  # and they are still there


class Draws(Watch):
    """What a part draws from torch's generator is the same on every rank, so that weights may depend on it."""

    def before_step(self, run: Any) -> None:
        for parameter in run.model.parameters():
            parameter.grad += 1e-3 * torch.randn_like(parameter)


def test_dropout_differs_by_rank_and_draws_of_parts_do_not(pair: Ranks) -> None:
    def trained(dropout: float) -> torch.Tensor:
        model, options = Small(dropout=dropout), TrainOptions(epochs=2, batch_size=4, ranks=2, drop_last=True)
        lead(pair, Work(model, parts_of(), None, options, Streams(0), [Draws()]), CPU)
        return model.fc.weight.detach().clone()

    first, again, plain = trained(0.5), trained(0.5), trained(0.0)
    assert torch.equal(first, again) and not torch.allclose(first, plain, atol=1e-4)


def noise_of(ranks: Ranks) -> list[torch.Tensor]:
    """Of the step to come of both ranks, and what comes after it."""
    torch.manual_seed(1)
    run: Any = SimpleNamespace(device=CPU, streams=Streams(0), clock=SimpleNamespace(steps=4))
    with ranks.noise(run):
        drawn = torch.rand(6)
    drawn = torch.cat([drawn, torch.rand(6)])
    both = [torch.empty_like(drawn) for _ in range(2)]
    dist.all_gather(both, drawn)
    return both


def test_noise_is_a_rank_s_own_and_leaves_the_common_generator_alone(pair: Ranks) -> None:
    mine, other = on_both(pair, noise_of)
    torch.manual_seed(1)
    common = torch.rand(6)
    assert not (mine[:6] == other[:6]).any() and not (mine[:6] == common).any()
    assert torch.equal(mine[6:], common) and torch.equal(other[6:], common)


def apart(ranks: Ranks, change: bool) -> str:
    """What the check says if one weight of rank 1 has another last bit."""
    run: Any = SimpleNamespace(model=Small(), masks=None, device=CPU, clock=SimpleNamespace(epoch=3, step=7))
    if ranks.rank and change:
        weight = run.model.fc.weight.data
        weight[1, 2] = torch.nextafter(weight[1, 2], torch.tensor(9.0, dtype=weight.dtype))
    try:
        ranks.end_epoch(run)
    except UserError as error:
        return str(error)
    return ""


def test_ranks_that_come_apart_by_one_bit_are_noticed(pair: Ranks) -> None:
    assert on_both(pair, apart, False) == ""
    problem = "rank 1 no longer holds the weights of rank 0, after epoch 3, step 7"
    assert on_both(pair, apart, True) == f"train.ranks: {problem}"


def test_the_ranks_are_compared_at_the_start_and_after_every_epoch(
    pair: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, compare = [], pair.end_epoch

    def counted(run: Any) -> None:
        seen.append(run.clock.steps)
        compare(run)

    monkeypatch.setattr(pair, "end_epoch", counted)
    by_two(pair, Small(), parts_of())
    assert seen == [0, 5, 10, 15]


# --- batch normalisation


def normed(ranks: Ranks, x: torch.Tensor, dy: torch.Tensor, options: dict[str, Any]) -> list[torch.Tensor]:
    """Output, gradients and statistics of a layer whose rows 0-1 are on rank 1, the others on rank 0."""
    layer = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.ndim](x.shape[1], **options).to(x.dtype)
    rows = slice(0, 2) if ranks.rank else slice(2, None)
    mine = x[rows].clone().requires_grad_()
    scale(layer)
    with synced_norms(layer):
        assert type(layer) is SyncedNorm
        y = layer(mine)
        layer(mine.detach() * 2)  # the statistics of a second batch
        y.backward(dy[rows])
    assert type(layer).__name__.startswith("BatchNorm")
    sums = [p.grad if p.grad is not None else torch.zeros_like(p) for p in layer.parameters()]
    for total in sums:
        dist.all_reduce(total)
    assert mine.grad is not None
    pieces: list[Any] = [None, None]
    dist.all_gather_object(pieces, (y.detach(), mine.grad))
    whole = [torch.cat([piece[i] for piece in reversed(pieces)]) for i in (0, 1)]
    return [*whole, *sums, *layer.buffers()]


def scale(layer: Any) -> None:
    if layer.affine:
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2, len(layer.weight)))
            layer.bias.copy_(torch.linspace(-1, 1, len(layer.bias)))


@pytest.mark.parametrize("shape", [(7, 3), (5, 3, 4, 2), (3, 2, 2, 3, 2)], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_batch_norm_of_two_ranks_is_torch_s_of_the_whole_batch(
    pair: Ranks, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch.manual_seed(3)
    x, dy = torch.randn(shape, dtype=torch.float64) * 2 + 5, torch.randn(shape, dtype=torch.float64)
    found = on_both(pair, normed, x, dy, options)
    layer = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.ndim](x.shape[1], **options).double()
    scale(layer)
    x.requires_grad_()
    y = layer(x)
    layer(x.detach() * 2)
    y.backward(dy)
    expected = [y, x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_a_channel_far_from_zero_keeps_its_variance_in_float32(pair: Ranks) -> None:
    rng = np.random.default_rng(0)
    x = 1e4 + rng.standard_normal((64, 3)).astype(np.float32)
    found = on_both(pair, normed, torch.from_numpy(x), torch.zeros(64, 3), {"momentum": 1.0})[0]
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5) * np.linspace(0.5, 2, 3) + np.linspace(-1, 1, 3)
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-3)  # sums of squares are wrong by 100 %


def test_in_evaluation_a_layer_uses_its_statistics_and_asks_nobody() -> None:
    layer = nn.BatchNorm1d(3).eval()
    layer.running_mean = torch.tensor([1.0, 2.0, 3.0])
    x = torch.randn(4, 3)
    with synced_norms(layer):
        torch.testing.assert_close(layer(x), F.batch_norm(x, layer.running_mean, torch.ones(3)))
    assert list(layer.state_dict()) == list(nn.BatchNorm1d(3).state_dict())


def test_other_kinds_of_batch_norm_are_refused() -> None:
    class Own(nn.BatchNorm1d):
        pass

    with pytest.raises(UserError, match="1: only plain BatchNorm"), synced_norms(nn.Sequential(nn.Tanh(), Own(3))):
        pass


# --- checkpoints


class Once(Checkpointer):
    """Saves after one step and never again."""

    def __init__(self, folder: Path, step: int):
        super().__init__(folder, 3600)
        self.step = step

    def after_step(self, run: Any) -> None:
        if run.clock.steps == self.step and not self.path.exists():
            self.save(run)


@pytest.mark.parametrize("step", [3, 5, 12])
def test_resumed_under_two_ranks_is_uninterrupted_bit_for_bit(pair: Ranks, tmp_path: Path, step: int) -> None:
    def trained(checkpoint: Any) -> Any:
        model = Small(norm=True, dropout=0.3)
        weights, outcome = by_two(pair, model, parts_of(), checkpoint=checkpoint, ema=0.8, lr=0.05)
        return {name: value.numpy().tobytes() for name, value in weights.items()}, outcome

    whole = trained(None)
    assert trained(Once(tmp_path, step)) == whole  # a checkpoint changes nothing
    again = Once(tmp_path, step)
    assert trained(again) == whole and again.resumed_at == step


# --- what is refused, and how it ends


@pytest.mark.parametrize(("batch", "ranks"), [(22, 2), (1, 2), (5, 4), (23, 24)])
def test_a_batch_with_fewer_images_than_ranks_is_refused(tmp_path: Path, batch: int, ranks: int) -> None:
    options = TrainOptions(batch_size=batch, ranks=ranks)
    with pytest.raises(UserError, match=r"^train\.ranks: more than the \d+ images of the smallest batch"):
        train_together(Small(), parts_of(), None, options, Streams(0), CPU, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_ranks_are_refused_where_there_are_none() -> None:
    with pytest.raises(UserError, match=r"^train\.ranks: "):
        TrainOptions(ranks=0)
    with pytest.raises(UserError, match=r"^train\.ranks: is for train_together"):
        train_seed(Small(), parts_of(), None, TrainOptions(ranks=2), Streams(0), CPU)
    with pytest.raises(UserError, match=r"^train\.ranks: not possible on this device"):
        train_together(
            Small(), parts_of(), None, TrainOptions(ranks=2, batch_size=5), Streams(0), torch.device("mps"), folder=ROOT
        )


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, None), ({"RANK": "0"}, None), ({"RANK": "0", "WORLD_SIZE": "1"}, None)]
    + [({"RANK": "2", "WORLD_SIZE": "3"}, (2, 3))],
)
def test_the_environment_says_who_was_launched(environ: dict[str, str], expected: Any) -> None:
    assert launched(environ) == expected


@pytest.mark.parametrize("rank", ["3", "-1", "one"])
def test_a_rank_that_cannot_be_is_refused(rank: str) -> None:
    with pytest.raises(UserError, match=r"^RANK: "):
        launched({"RANK": rank, "WORLD_SIZE": "3"})
