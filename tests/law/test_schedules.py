"""Schedules start at 1, end where they should, never rise, and durations are exact counts of steps."""

from __future__ import annotations

import math

import pytest

from sparse_ortho import schedules
from sparse_ortho.errors import UserError

ENDS = {"constant": 1.0, "cosine": 0.0, "cubic": 0.0, "exponential": 0.01, "linear": 0.0}


@pytest.mark.parametrize("name", ENDS)
def test_starts_at_one_and_ends_at_its_end(name):
    assert schedules.SCHEDULES[name](0.0) == pytest.approx(1.0, abs=1e-15)
    assert schedules.SCHEDULES[name](1.0) == pytest.approx(ENDS[name], abs=1e-15)


@pytest.mark.parametrize("name", ENDS)
def test_never_rises(name):
    values = [schedules.SCHEDULES[name](i / 1000) for i in range(1001)]
    assert all(later <= earlier for earlier, later in zip(values, values[1:], strict=False))


def test_every_schedule_is_tested():
    assert ENDS.keys() == schedules.SCHEDULES.keys()


@pytest.mark.parametrize("t", [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])
def test_closed_forms(t):
    assert schedules.linear(t, 0.2) == pytest.approx(1 - 0.8 * t)
    assert schedules.cosine(t, 0.2) == pytest.approx(0.2 + 0.8 * math.cos(math.pi * t / 2) ** 2)  # half-angle identity
    assert schedules.cubic(t, 0.2) == pytest.approx(0.2 + 0.8 * (1 - 3 * t + 3 * t**2 - t**3))
    assert schedules.exponential(t, 0.01) == pytest.approx(10 ** (-2 * t))


def test_step_falls_at_the_milestone_itself():
    assert [schedules.step(t, (2, 4), 0.5) for t in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert schedules.step(3, (2, 2), 0.5) == 0.25
    assert schedules.step(7, ()) == 1


@pytest.mark.parametrize(
    ("text", "steps"),
    [("10ep", 4220), ("500it", 500), (" 500 it ", 500), ("0.5ep", 211), ("0ep", 0), ("0.75", 31650), (0.75, 31650)]
    + [(1, 42200), (0, 0), ("0.29", 12238), (".5", 21100), (1e-05, 0), (5e-5, 2)],
)
def test_duration_in_steps(text, steps):
    assert schedules.duration(text, steps_per_epoch=422, total_steps=42200) == steps


def test_a_fraction_is_the_decimal_as_written():
    assert schedules.share(0.29, 100) == 29  # in binary floating point 0.29 * 100 is 28.999999999999996


BAD = ["", "ten", "10 epochs", "-1ep", "-0.1", "1.5", "100", "2.5it", "nan", "inf", True, None]


@pytest.mark.parametrize("text", BAD)
def test_other_durations_are_refused_in_one_sentence(text):
    with pytest.raises(UserError, match=r"^rewiring\.stop: .*10ep \(epochs\), 500it \(steps\)"):
        schedules.duration(text, 422, 42200, where="rewiring.stop")
