"""Asked to stop, a training finishes its step, saves itself and leaves.

SIGTERM (a scheduler's time limit, `kill`) ends with exit status 143, Ctrl-C with 130; the same command goes on from
there. A second signal ends at once: then the last checkpoint counts, at most its interval old.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Stopping:
    """While it is entered, the first SIGTERM or SIGINT is remembered instead of raised."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as in a shell's background, which ignores Ctrl-C
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._restore()
        if kind is None:  # asked too late for the training to see it
            self.leave()

    def _hear(self, number: int, _: FrameType | None) -> None:
        self.asked = number
        self._restore()  # the next one is not waited with

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def leave(self) -> None:
        """End the process as the signal would have done, if there was one."""
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked is not None:
            raise SystemExit(128 + self.asked)
