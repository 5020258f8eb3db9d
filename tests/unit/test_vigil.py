"""Few answers that come soon are waited for awake, within a bound; others are not."""

from __future__ import annotations

import asyncio
import os

import pytest

from tagstack.adapters.vigil import AWAITED_MAX, AWAKE_S, Vigil

TURNS = 10


class Watched:
    """A vigil whose clock stands still, and which counts how often it looked at it."""

    def __init__(self, awaited: int = 1) -> None:
        self.now, self.looks = 1.0, 0
        self.awaited = set(range(awaited - 1))  # the last one is sent when the vigil begins
        self.vigil = Vigil(self.awaited, self._clock)

    def begin(self) -> None:
        """Send something."""
        self.vigil.begin()
        self.awaited.add(-1)

    def take(self, seconds: float) -> None:
        """Send something that is answered after so long."""
        began = self.vigil.begin()
        self.now += seconds
        self.vigil.answered(began)

    async def looked(self) -> int:
        """Return how often it looks while the event loop takes some turns."""
        before = self.looks
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return self.looks - before

    def _clock(self) -> float:
        self.looks += 1
        return self.now


def test_it_stays_awake_until_the_answer_is_there() -> None:
    """Every turn of the loop looks for the answer; once it is there the loop may sleep."""

    async def scenario() -> None:
        watched = Watched()
        watched.begin()
        assert await watched.looked() >= TURNS - 1
        watched.awaited.clear()
        assert await watched.looked() == 0

    asyncio.run(scenario())


def test_it_stays_awake_no_longer_than_the_bound() -> None:
    """An answer that does not come is not waited for awake for ever; the next one is."""

    async def scenario() -> None:
        watched = Watched()
        watched.begin()
        watched.now += AWAKE_S
        assert await watched.looked() <= 1
        watched.begin()
        assert await watched.looked() >= TURNS - 1

    asyncio.run(scenario())


def test_many_answers_are_not_waited_for_awake() -> None:
    """With many on their way there is always something to do."""

    async def scenario() -> None:
        few, many = Watched(AWAITED_MAX), Watched(AWAITED_MAX + 1)
        few.begin()
        many.begin()
        assert await few.looked() >= TURNS - 1
        assert await many.looked() <= 1

    asyncio.run(scenario())


def test_slow_answers_are_not_waited_for_awake() -> None:
    """After one that took longer than the bound the loop sleeps, until one came soon again."""

    async def scenario() -> None:
        watched = Watched()
        watched.take(2 * AWAKE_S)
        watched.begin()
        assert await watched.looked() <= 1
        watched.take(AWAKE_S / 2)
        watched.begin()
        assert await watched.looked() >= TURNS - 1

    asyncio.run(scenario())


def test_a_single_processor_is_left_to_whoever_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one processor is all that this process may use, nothing is waited for awake."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)

    async def scenario() -> None:
        watched = Watched()
        watched.begin()
        assert await watched.looked() <= 1

    asyncio.run(scenario())
