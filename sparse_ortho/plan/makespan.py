"""How long jobs take on some workers, and what a stage costs, from times that were measured.

    seconds of a job = start + pace * nominal        both >= 0, least squares of relative errors over measured jobs

Nominal cost knows no machine; `pace` is what this one makes of it and `start` what a process costs before it works.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What a job of a stage takes on a machine."""

    start: float
    pace: float

    def seconds(self, nominal: float) -> float:
        return self.start + self.pace * nominal


def makespan(seconds: Iterable[float], workers: int) -> float:
    """The end of the last job when the longest begin first, each on the worker that is free first."""
    ends = [0.0] * workers
    for job in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


def fitted(jobs: Sequence[tuple[float, float]]) -> Line:
    """The line through measured jobs, (nominal, seconds) each: sum of ((start + pace * nominal) / seconds - 1)^2 least.

    Where one of the two comes out negative it is 0 and the other is fitted alone.
    """
    rows = [(1 / max(seconds, 1e-9), nominal / max(seconds, 1e-9)) for nominal, seconds in jobs]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = (sum(row[i] for row in rows) for i in (0, 1))
    determinant = aa * bb - ab * ab
    if determinant > 1e-9 * aa * bb:
        start, pace = (bb * a - ab * b) / determinant, (aa * b - ab * a) / determinant
        if start >= 0 and pace >= 0:
            return Line(start, pace)
        if start < 0:
            return Line(0.0, b / bb)
    return Line(0.0, b / bb) if bb and determinant <= 1e-9 * aa * bb else Line(a / aa, 0.0)
