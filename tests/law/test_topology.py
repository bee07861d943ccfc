"""Columns of the curves about masks: hand-made sequences of masks, and trainings whose totals are known."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sparse_ortho.registry import load
from sparse_ortho.streams import Streams
from sparse_ortho.training.loop import train_seed
from sparse_ortho.training.options import TrainOptions
from sparse_ortho.training.parts import Part
from sparse_ortho.training.resident import resident
from sparse_ortho.training.rewired import Rewired
from sparse_ortho.training.topology import Topology
from tests.law.test_training import CPU, FACTS, half_masks, network, toy


def bits(text: str) -> torch.Tensor:
    return torch.tensor([digit == "1" for digit in text])


def watched(**layers: str) -> tuple[Topology, Any]:
    run: Any = SimpleNamespace(masks={name: bits(text) for name, text in layers.items()})
    part = Topology()
    part.begin(run)
    return part, run


def moved(run: Any, **layers: str) -> None:
    for name, text in layers.items():
        run.masks[name].copy_(bits(text))


def trained(masks: Any = "half", parts: Any = (), **options: Any) -> Any:
    model = network()
    splits = resident(toy(), FACTS, CPU)
    masks = half_masks(model) if masks == "half" else masks
    told = {"epochs": 3, "batch_size": 20, "lr": 0.1} | options
    return train_seed(model, splits, masks, TrainOptions(**told), Streams(0), CPU, parts=parts)


def test_rows_follow_a_hand_made_sequence_of_masks() -> None:
    part, run = watched(a="11110000", b="1000")
    assert part.row() == {
        "density": 5 / 12,
        "exploration": 5 / 12,
        "mask_change": None,
        "layers": '{"a":[4,0,0,8],"b":[1,0,0,4]}',
    }
    moved(run, a="00111000", b="1100")  # a: one came, two left; b: one came
    part.end_epoch(run)
    assert part.row() == {
        "density": 5 / 12,
        "exploration": 7 / 12,
        "mask_change": 2 / 5,
        "layers": '{"a":[3,1,2,8],"b":[2,1,0,4]}',
    }
    part.end_epoch(run)  # nothing has moved
    assert part.row() == {"density": 5 / 12, "exploration": 7 / 12, "mask_change": 0.0, "layers": None}
    moved(run, a="00000000", b="0000")
    part.end_epoch(run)
    assert part.row()["density"] == part.row()["mask_change"] == 0.0


def test_a_weight_that_comes_and_goes_within_an_epoch_has_been_explored() -> None:
    part, run = watched(a="11000000")
    for text in ("00110000", "00001000", "11000000"):
        moved(run, a=text)
        part.after_step(run)
    part.end_epoch(run)
    assert part.row() == {"density": 0.25, "exploration": 5 / 8, "mask_change": 0.0, "layers": None}


def test_what_is_watched_goes_on_where_another_one_stopped() -> None:
    (part, run), (other, resumed) = watched(a="11000000"), watched(a="11000000")
    moved(run, a="00110000")
    part.end_epoch(run)
    moved(resumed, a="00110000")
    other.load_state_dict(part.state_dict())
    for topology, its in ((part, run), (other, resumed)):
        moved(its, a="00001100")
        topology.end_epoch(its)
    assert part.row() == other.row() and part.row()["exploration"] == 6 / 8
    assert part.facts() == other.facts() == {"exploration": 6 / 8}


def test_a_dense_network_and_static_masks_stay_what_they_are() -> None:
    for row in trained(masks=None).curves:
        assert (row["density"], row["exploration"], row["layers"]) == (1.0, 1.0, None)
    first, *later = trained().curves
    assert first["density"] == first["exploration"] < 1 and json.loads(first["layers"])
    assert all(row["layers"] is None and row["mask_change"] == 0 for row in later)
    assert {row["exploration"] for row in later} == {first["exploration"]}


@pytest.mark.parametrize("rule", ["sparse_momentum", "set", "dsr", "deepr", "gmp"])
def test_budgets_of_layers_sum_to_the_total_and_their_changes_add_up(rule: str) -> None:
    told = {"gmp": {"every": "2it", "final_density": 0.1}, "dsr": {"every": "2it"}, "deepr": {}}.get(
        rule, {"every": "3it", "stop": "1.0"}
    )
    outcome = trained(parts=[Rewired(load("rules", rule)(**told))], epochs=4)
    record, active = outcome.record, {}
    for row in outcome.curves:
        if row["layers"] is None:
            continue
        layers = json.loads(row["layers"])
        for name, (now, came, left, size) in layers.items():
            assert now == active.get(name, now) + came - left and 0 <= came <= now <= size
            active[name] = now
        assert sum(now for now, *_ in layers.values()) == pytest.approx(row["density"] * record["weights"])
    assert sum(active.values()) == record["nonzeros"]
    explored = [row["exploration"] for row in outcome.curves]
    assert explored == sorted(explored) and record["exploration"] == explored[-1]
    assert explored[-1] == explored[0] if rule == "gmp" else explored[-1] > explored[0]


def test_exploration_is_the_rate_that_itop_counts_itself() -> None:
    record = trained(parts=[Rewired(load("rules", "itop")(every="2it"))]).record
    assert record["exploration"] == record["explored"] / record["weights"] > record["density"]


def test_exploration_is_that_of_the_masks_after_every_step() -> None:
    class Watch(Part):
        def __init__(self) -> None:
            self.ever: dict[str, torch.Tensor] = {}

        def after_step(self, run: Any) -> None:
            for name, mask in run.masks.items():
                self.ever[name] = self.ever.get(name, mask) | mask

    watch = Watch()
    outcome = trained(parts=[Rewired(load("rules", "set")(every="1it")), watch])
    model = network()
    first = half_masks(model)
    ever = sum(int((mask | first[name]).sum()) for name, mask in watch.ever.items())
    assert outcome.record["exploration"] == ever / outcome.record["weights"]
