"""When the tables of the live file are sorted anew: once enough events lie behind the sorted ones."""

from __future__ import annotations

import logging
import time

from tagstack.application.read_models import ReadModels

# of the sorted events: while their number doubles, all of them are sorted at the most 35 times
UNSORTED_SHARE = 0.02

_log = logging.getLogger(__name__)


def unsorted(models: ReadModels) -> int:
    """Return how many events came since the tables were last sorted."""
    return models.checkpoint.position - models.sorted_position


class Compaction:
    """Decides when to begin one. `waits` tells why the last one was given up, until there is no need any more."""

    def __init__(self, unsorted_events_max: int, retry_interval_s: float) -> None:
        self._unsorted_max, self._retry_interval_s = unsorted_events_max, retry_interval_s
        self._not_before = float("-inf")
        self.waits = ""

    def due(self, models: ReadModels) -> bool:
        """Return whether one is to begin now."""
        if not self._unsorted_max or unsorted(models) < max(
            self._unsorted_max, models.sorted_position * UNSORTED_SHARE
        ):
            self.waits = ""
            return False
        return time.monotonic() >= self._not_before

    def gave_up(self, why: str) -> None:
        """Take notice that one failed; the log is told the first time."""
        if not self.waits:
            _log.warning("tables stay unsorted, so lookups are slower, until a compaction succeeds: %s", why)
        self.waits = why
        self._not_before = time.monotonic() + self._retry_interval_s
