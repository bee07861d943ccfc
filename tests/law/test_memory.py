"""The memory that a job asks for: by hand, never less than torch takes, and never less for more."""

from __future__ import annotations

import re

import pytest

from sparse_ortho.plan import memory
from sparse_ortho.plan.identity import Node
from sparse_ortho.plan.workflow import Plan
from tests.conftest import ROOT

LENET = {"name": "lenet300_100"}
WEIGHTS = 784 * 300 + 300 * 100 + 100 * 10


def node(name: str, model: dict[str, str], shape: list[int], **inputs: str) -> Node:
    spec = {"model": model, "shape": shape, "classes": 10}
    return Node("train", "x", spec, inputs, frozenset(), name, model["name"])


def test_by_hand() -> None:
    """Ten thousand seeds of LeNet-300-100 at once: 5 bytes a weight of each, and all of MNIST twice."""
    lenet = node("mnist", LENET, [1, 28, 28], data="mnist-0")
    held = 5 * WEIGHTS * 10_000 + 32 * WEIGHTS + 2 * 70_000 * 784
    assert memory.megabytes([(lenet, range(10_000))]) == 500 * -(-(1200e6 + held) // 500e6) == 15_000


def test_what_is_small_gets_what_torch_takes() -> None:
    assert memory.megabytes([(node("mnist", LENET, [1, 28, 28]), [0])]) == 2000


def test_pictures_count_once_for_all_cells_and_not_where_they_are_streamed_or_not_read() -> None:
    at = {size: [3, size, size] for size in (64, 224)}
    unknown = {"name": "not_in_shapes_json"}
    base = memory.megabytes([(node("tiny_imagenet", unknown, at[64]), [0])])
    assert base == 2000  # 1200 MB and 25 million weights
    read = [(node("tiny_imagenet", unknown, at[64], data=f"d-{n}"), [0]) for n in range(3)]
    pictures = 2 * 110_000 * 3 * 64 * 64
    assert memory.megabytes(read) == memory.megabytes(read[:1]) == 500 * -(-(2000e6 + pictures) // 500e6)
    assert memory.megabytes([(node("imagenet", unknown, at[224], data="d-0"), [0])]) == base


@pytest.mark.parametrize("stage", ["mask", "init", "train"])
def test_more_cells_never_ask_for_less(stage: str) -> None:
    plan = Plan({"studies": ["eoi"], "scale": "paper", "device": "cpu", "bundle": 16})
    for bundle in list(plan.bundles("eoi", stage).values())[:20]:
        pairs = [(one, sorted(plan.study("eoi").seeds[one.id])) for one in bundle.nodes]
        asked = [memory.megabytes(pairs[:count]) for count in range(1, len(pairs) + 1)]
        assert asked == sorted(asked) and asked[0] >= 2000


def test_every_stage_that_holds_networks_asks_the_plan() -> None:
    for stage in ("mask", "init", "ticket", "train", "measure"):
        text = (ROOT / "rules" / f"{stage}.smk").read_text()
        assert re.search(rf'mem_mb=lambda wc, attempt: PLAN\.memory\("{stage}", wc\.bundle\) \* attempt,', text)
