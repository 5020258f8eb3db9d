"""Waiting awake for an answer that is about to come.

The server stores an event in about a tenth of a millisecond, and waking up a process that sleeps meanwhile takes
half of that again. So the event loop looks for the answer instead of sleeping: while few are awaited, since with
many there is always something to do; while the last one came soon, since one that has to wait for a disk or for
another machine is not worth it; and only where another processor is left to whoever answers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sized

AWAKE_S = 0.0003  # at the most, for one answer
AWAITED_MAX = 4


class Vigil:
    """Keeps the event loop awake for answers; `awaited` is what is still without one."""

    def __init__(self, awaited: Sized, clock: Callable[[], float] = time.monotonic) -> None:
        self._awaited = awaited
        self._clock = clock
        self._awake_s = AWAKE_S if _processors() > 1 else 0.0
        self._last_s = 0.0  # that the last answer took
        self._until = 0.0
        self._looking = False

    def begin(self) -> float:
        """Stay awake for the answer to what is about to be sent, and return the moment."""
        now = self._clock()
        if self._last_s < self._awake_s and len(self._awaited) < AWAITED_MAX:
            self._until = now + self._awake_s
            if not self._looking:
                self._looking = True
                asyncio.get_running_loop().call_soon(self._look)
        return now

    def answered(self, began: float) -> None:
        """Take note of how long an answer took."""
        self._last_s = self._clock() - began

    def _look(self) -> None:
        self._looking = 0 < len(self._awaited) <= AWAITED_MAX and self._clock() < self._until
        if self._looking:  # a callback that is due lets the loop look at its connections without waiting
            asyncio.get_running_loop().call_soon(self._look)


def _processors() -> int:
    """Return how many processors this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
