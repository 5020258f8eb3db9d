"""When a compaction is due: by how much is unsorted, by how long the last one took, by what it was given up for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tagstack.application.compaction import Compaction
from tagstack.application.read_models import Checkpoint


class File(msgspec.Struct):
    """What a compaction looks at."""

    checkpoint: Checkpoint
    sorted_position: int


def file(position: int, sorted_position: int) -> Any:
    """Return a file that was sorted at one position and is at another."""
    return File(Checkpoint(position), sorted_position)


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.mark.parametrize(
    ("position", "sorted_position", "due"),
    [(99, 0, False), (100, 0, True), (1_099, 1_000, False), (1_100, 1_000, True), (50_999, 50_000, False)],
)
def test_it_is_due_over_a_number_and_over_a_share(position: int, sorted_position: int, due: bool) -> None:
    """So many events must be unsorted, and a fiftieth of the sorted ones, else a long log would be sorted for few."""
    assert Compaction(100, 60).due(file(position, sorted_position)) is due


def test_zero_means_never() -> None:
    """An operator who sorts by hand is left alone."""
    assert not Compaction(0, 60).due(file(10**9, 0))


def test_it_takes_a_tenth_of_the_time_at_the_most() -> None:
    """After one that took long there is a pause of nine times as long, however many events come.

    Seen to fail when `ended` sets no pause.
    """
    clock = Clock()
    compaction = Compaction(100, 60, clock)
    compaction.ended(10)
    clock.now = 89
    assert not compaction.due(file(10_000, 0))
    clock.now = 90
    assert compaction.due(file(10_000, 0))


def test_what_was_given_up_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The reason is told until there is no need any more, and in the log only the first time."""
    clock = Clock()
    compaction = Compaction(100, 60, clock)
    for clock.now in (0, 60, 120):
        assert compaction.due(file(100, 0))
        compaction.gave_up(f"no room at {clock.now}")
        clock.now += 59
        assert not compaction.due(file(100, 0))
    assert (compaction.waits, len(caplog.records)) == ("no room at 120", 1)
    assert not compaction.due(file(100, 100))
    assert compaction.waits == ""
