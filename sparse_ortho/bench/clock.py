"""Measured times: of the processor, on one thread, the least of some repetitions.

Processor time leaves out what other processes take, and the least what they disturb: caches, clock rates, interrupts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sparse_ortho.errors import UserError

SHORT = 2e-3  # seconds: shorter work is repeated within a measurement, which would otherwise be of the clock
MOST = 1000


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call of `work`, after one that warms up if it is short."""
    if repeats < 1:
        raise UserError("bench.repeats", "must be at least 1", found=repeats)
    first = _once(work, 1)
    inner = max(1, min(MOST, round(SHORT / max(first, 1e-9))))
    found = [] if first < SHORT else [first]
    while len(found) < repeats:
        found.append(_once(work, inner))
    return min(found)


def _once(work: Callable[[], Any], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - start) / times
