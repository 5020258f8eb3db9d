"""When readers are shown a new snapshot, and when it is withheld since a check complains.

Checks and publishing cost time that the fold lacks: once they are slow they come less often.
"""

from __future__ import annotations

import logging
import time
from typing import Generic, TypeVar

from tagstack.application.read_models import Complaint, Observer, ReadModels, Snapshots

PUBLISH_SHARE = 0.2  # of the time; what publishing may take while the log is being caught up with
CHECKS_SHARE = 0.2  # of the time; what checks may take once they have become slow

_log = logging.getLogger(__name__)
_Models = TypeVar("_Models", bound=ReadModels)


class Publication(Generic[_Models]):
    """Decides about snapshots. `changed` says that readers lack something; times in seconds."""

    def __init__(self, snapshots: Snapshots[_Models], interval_s: float, observer: Observer) -> None:
        self._snapshots, self._interval_s, self._observer = snapshots, interval_s, observer
        self._published_at, self._publish_s = 0.0, 0.0
        self._checked_at, self._checks_s = float("-inf"), 0.0
        self.changed = True
        self.complaints: list[Complaint] = []
        self.position = 0

    def anew(self) -> None:
        """Take notice that another file takes the place of the one before: it is checked at once."""
        self.changed = True
        self._checked_at = float("-inf")

    def due_in(self, *, behind: bool) -> float | None:
        """Return in how many seconds a snapshot is due, None where nothing changed.

        It comes later where it would cost a fold that is `behind` too much of its time.
        """
        if not self.changed:
            return None
        pause_s = self._publish_s / PUBLISH_SHARE if behind else 0.0
        return max(self._published_at + max(self._interval_s, pause_s) - time.monotonic(), 0.0)

    def publish(self, models: _Models) -> None:
        """Show readers the present state unless a check complains. Raises OutOfRoom, Damaged."""
        began = time.monotonic()
        if began - self._checked_at >= self._checks_s / CHECKS_SHARE:
            self.check(models)
        if self.complaints:
            self._observer.refused()
            self._snapshots.withhold(models)
            done = False
        else:
            done = self._snapshots.publish(models)
        self._published_at = time.monotonic()
        self._publish_s = self._published_at - began
        if done:
            self.changed = False
            self.position = models.checkpoint.position
            self._observer.published(self._publish_s)

    def check(self, models: _Models) -> None:
        """Let every check look."""
        began = time.monotonic()
        found = models.complaints()
        self._checked_at = time.monotonic()
        self._checks_s = self._checked_at - began
        if found and found != self.complaints:
            told = "; ".join(f"{each.read_model}: {each.complaint} ({each.detail})" for each in found)
            _log.error("snapshots are withheld: %s", told)
        self.complaints = found
