"""Each entry of a table against one that the exhibit names: Welch's interval, and p with Holm's correction.

`baseline: uniform` compares every entry with the one that differs in nothing but that its mask is uniform; with
`mask=uniform` the axis is named too. All comparisons of a table are one family for Holm. Without two finished runs on
both sides an entry has a difference and no interval, and is not in the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparse_ortho.report.collect import Key, Runs
from sparse_ortho.report.metrics import Metric
from sparse_ortho.report.statistics import LEVEL, Difference, difference, holm
from sparse_ortho.report.text import number

SMALLEST = 0.001  # p below it is told as below it
Place = tuple[Key, Key]


@dataclass(frozen=True)
class Against:
    """The difference of an entry to its baseline, and p of the whole family."""

    gap: Difference
    p: float | None

    def words(self, measured: Metric) -> str:
        """[+2.1; 1.5 to 2.7; p < 0.001], which cannot be taken for a published value."""
        if self.gap.mean is None:
            return ""
        told = [_signed(self.gap.mean, measured)]
        if self.gap.low is not None and self.gap.high is not None:
            told.append(f"{_signed(self.gap.low, measured)} to {_signed(self.gap.high, measured)}")
        if self.p is not None:
            told.append(f"p < {SMALLEST}" if self.p < SMALLEST else f"p = {self.p:.2g}")
        return f"[{'; '.join(told)}]"


def axis_of(baseline: str, axes: Sequence[str], values: Sequence[Sequence[str]]) -> int | None:
    """The place of the one axis that has this value; None if none has it or several have."""
    name, _, value = baseline.rpartition("=")
    found = [i for i, axis in enumerate(axes) if value in values[i] and name in ("", axis)]
    return found[0] if len(found) == 1 else None


def against(
    baseline: str, axes: Sequence[str], rows: int, runs: Mapping[Place, Runs], metric: str
) -> dict[Place, Against]:
    """By place, the comparison with the baseline; `axes` are those of the rows, `rows` of them, then of the columns."""
    keys = {place: (*place[0], *place[1]) for place in runs}
    axis = axis_of(baseline, axes, [[key[i] for key in keys.values()] for i in range(len(axes))])
    if axis is None:
        return {}  # the plan refuses it where it was written
    value = baseline.rpartition("=")[2]
    gaps: dict[Place, Difference] = {}
    for place, key in keys.items():
        other = (*key[:axis], value, *key[axis + 1 :])
        base = runs.get((other[:rows], other[rows:]))
        if key[axis] != value and base is not None:
            gaps[place] = difference(runs[place].values(metric), base.values(metric))
    tested = [place for place, gap in gaps.items() if gap.p is not None]
    adjusted = dict(zip(tested, holm([p for place in tested if (p := gaps[place].p) is not None]), strict=True))
    return {place: Against(gap, adjusted.get(place)) for place, gap in gaps.items()}


def sentence(baseline: str, compared: Sequence[Against]) -> str:
    family = sum(one.p is not None for one in compared)
    value = baseline.rpartition("=")[2]
    return (
        f"In brackets: the difference to {value}, its {LEVEL * 100:.0f} % interval and p (Welch's test, two-sided; "
        f"p by Holm for {family} {'comparison' if family == 1 else 'comparisons'})."
    )


def _signed(value: float, measured: Metric) -> str:
    text = number(value, measured.digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"
