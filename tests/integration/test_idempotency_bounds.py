"""What a worker remembers of commands is bounded; what it forgot it reads in the log, and only then."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import pytest

from tagstack.application import idempotency
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.ports import Request, Stored
from tagstack.apps.commands import now
from tagstack.domain.names import ImageStreamName
from tests.examples_nats import mapping
from tests.memory_log import MemoryLog

API = ImageStreamName("prod", "api")


class Counting(MemoryLog):
    """A log that counts how often an image stream's past is read."""

    reads = 0

    async def since(self, name: ImageStreamName, time: str) -> list[Stored]:
        """Return an image stream's events, and count."""
        self.reads += 1
        return await super().since(name, time)


def request(number: int, sent: str = "") -> Request:
    """Return the push of an image under an id of its own."""
    return Request("me", API, json.dumps(mapping("api", number)).encode(), f"c{number}", sent=sent)


def handler_on(log: MemoryLog) -> CommandHandler:
    """Return a cold handler."""
    uids = count()
    return CommandHandler(log, Surroundings(now, lambda: f"uid{next(uids)}", Grants()))


@pytest.mark.parametrize("forgotten_max", [1_000, 3])
def test_a_command_older_than_every_bound_is_found(monkeypatch: Any, forgotten_max: int) -> None:
    """Fifty commands later, with five remembered, the first one repeated still gets its first answer.

    Seen to fail when `Aggregate.forget_oldest` keeps nothing of what it forgets.
    """
    monkeypatch.setattr(idempotency, "OUTCOMES_MAX", 5)
    monkeypatch.setattr(idempotency, "FORGOTTEN_MAX", forgotten_max)

    async def scenario() -> None:
        log = Counting()
        handler = handler_on(log)
        first = await handler.handle(request(0))
        for number in range(1, 50):
            await handler.handle(request(number))
        stored = len(log.stored)
        for each in (handler, handler_on(log), handler):
            assert await each.handle(request(0)) == first
        assert len(log.stored) == stored

    asyncio.run(scenario())


def test_the_past_is_read_once_not_for_every_command(monkeypatch: Any) -> None:
    """A cold worker reads the log for the first command without `Tagstack-Sent`, and for none of the next fifty."""
    monkeypatch.setattr(idempotency, "OUTCOMES_MAX", 5)

    async def scenario() -> None:
        log = Counting()
        before = handler_on(log)
        for number in range(20):
            await before.handle(request(number))
        handler, log.reads = handler_on(log), 0
        for number in range(100, 150):
            await handler.handle(request(number))
        assert log.reads == 1

    asyncio.run(scenario())
