"""When the tables of the live file are sorted anew: once enough events lie behind the sorted ones.

Each time all of them are sorted. Two shares keep that from becoming too much: one of the events, so that the
work in all grows little faster than the log, and one of the processor time, so that a busy machine has most of it left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tagstack.application.read_models import ReadModels

UNSORTED_SHARE = 0.02  # of the sorted events: at the most 35 compactions until there are twice as many
TIME_SHARE = 0.1  # of one core, that compactions may take

_log = logging.getLogger(__name__)


def unsorted(models: ReadModels) -> int:
    """Return how many events came since the tables were last sorted."""
    return models.checkpoint.position - models.sorted_position


class Compaction:
    """Decides when to begin one. `waits` tells why the last one was given up, until there is no need any more."""

    def __init__(
        self, unsorted_events_max: int, retry_interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._unsorted_max, self._retry_interval_s = unsorted_events_max, retry_interval_s
        self._clock = clock
        self._not_before = float("-inf")
        self.waits = ""

    def due(self, models: ReadModels) -> bool:
        """Return whether one is to begin now."""
        bound = max(self._unsorted_max, models.sorted_position * UNSORTED_SHARE)
        if not self._unsorted_max or unsorted(models) < bound:
            self.waits = ""
            return False
        return self._clock() >= self._not_before

    def ended(self, busy_s: float) -> None:
        """Take notice that one ended well, and how much processor time copying and sorting took."""
        self._not_before = self._clock() + busy_s * (1 / TIME_SHARE - 1)
        _log.info("a compaction sorted the tables in %.1f s of processor time", busy_s)

    def gave_up(self, why: str) -> None:
        """Take notice that it failed; the log is told the first time."""
        if not self.waits:
            _log.warning("tables stay unsorted, so lookups are slower, until a compaction succeeds: %s", why)
        self.waits = why
        self._not_before = self._clock() + self._retry_interval_s
