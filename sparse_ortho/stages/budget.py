"""The budget of a run (`max_hours`), as a job sees it: no seed begins that would not be done in time.

A job that has a budget begins with the cells of which fewest seeds are finished, so that what is there after it says
something of every cell. It never leaves half a seed: one is begun if the longest that this job made would still fit.
How long a job may take is written down by the run (`plan/budget.py`); without it all is made, in the job's order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from sparse_ortho.errors import UserError
from sparse_ortho.plan.job import Task

Place = tuple[Task, int]


class BudgetSpent(UserError):
    """Not an error of anybody's: the time is over, and the same command goes on."""


class Budget:
    """The moment until which a job may begin seeds, by the clock of the wall, and the longest seed so far."""

    def __init__(self, until: float, clock: Callable[[], float] = time.time):
        self._until, self._clock, self._longest = until, clock, 0.0

    def within(self, places: Iterable[Place], finished: Callable[[Task, int], bool]) -> Iterator[Place]:
        """What may be made, one after the other: whoever asks for the next has made the last."""
        for place in most_informative(places, finished):
            served, begun = finished(*place), self._clock()
            if served or begun + self._longest <= self._until:
                yield place
                self._longest = max(self._longest, 0.0 if served else self._clock() - begun)


def most_informative(places: Iterable[Place], finished: Callable[[Task, int], bool]) -> list[Place]:
    """What is finished, then a seed of each cell that has fewest of them, and so on; else in the order given."""
    done: list[Place] = []
    rest: list[Place] = []
    for place in places:
        (done if finished(*place) else rest).append(place)
    count = Counter(task.id for task, _ in done)
    ranked: list[tuple[int, Place]] = []
    for task, seed in rest:
        ranked.append((count[task.id], (task, seed)))
        count[task.id] += 1
    return done + [place for _, place in sorted(ranked, key=lambda each: each[0])]


def spent(where: str, made: int, total: int) -> BudgetSpent:
    said = f"the budget of max_hours is spent: {made} of {total} seeds are finished, the others not begun"
    return BudgetSpent(where, said)
