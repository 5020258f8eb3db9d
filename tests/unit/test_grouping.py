"""Pushes that wait for one image stream: appended together, and each as if it had been alone."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import msgspec
import pytest

from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Limits, Surroundings
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.domain.errors import Conflict, StaleState, Unavailable, UnknownOutcome
from tagstack.domain.events import TagEvent
from tagstack.domain.image_stream import evolve, load
from tagstack.domain.names import ImageStreamName
from tests.contract.test_log import created, tagged
from tests.examples import alias, digest, mapping, on, tag_of
from tests.memory_log import MemoryLog

APP = ImageStreamName("test", "app")
IMAGES = 8


class SlowLog(MemoryLog):
    """A log whose answers take a turn of the loop, so that others come to wait."""

    def __init__(self, *failures: tuple[int, Exception, bool]) -> None:
        super().__init__()
        self.groups: list[int] = []
        self._failures = {number: (error, stored) for number, error, stored in failures}
        self._calls = itertools.count()

    async def append(self, name: Any, events: Any, expected: int, previous: Any = ()) -> int:
        """Store events after a turn of the loop."""
        await asyncio.sleep(0)
        return await super().append(name, events, expected, previous)

    async def append_chain(self, name: Any, events: Any, expected: int, previous: Any = ()) -> list[int]:
        """Note the group's size, and fail where that was asked for, before or after storing a part."""
        self.groups.append(len(events))
        await asyncio.sleep(0)
        error, stored = self._failures.get(next(self._calls), (None, False))
        if error is not None:
            if stored:
                half = len(events) // 2
                await super().append_chain(name, events[:half], expected, previous[:half])
            raise error
        return await super().append_chain(name, events, expected, previous)


def handler_of(log: MemoryLog, together: int = 64) -> CommandHandler:
    """Return a handler whose clock and uids count."""
    clock, uids = itertools.count(), itertools.count()
    around = Surroundings(lambda: f"2026-01-01T00:00:00.{next(clock):06}Z", lambda: f"uid-{next(uids)}", Grants())
    return CommandHandler(log, around, Limits(together=together))


def request(body: dict[str, Any], command_id: str, *, repeatable: bool = False) -> Request:
    """Return a request on the image stream `app`."""
    return Request("me", APP, msgspec.json.encode(body), command_id, repeatable=repeatable)


async def prepared(log: MemoryLog, together: int = 64) -> CommandHandler:
    """Return a handler that knows the image stream and every image."""
    handler = handler_of(log, together)
    for number in range(IMAGES):
        await handler.handle(request(mapping("latest", f"i{number}"), f"known-{number}"))
    return handler


async def push(handler: CommandHandler, count: int, *, repeatable: bool = False) -> list[Outcome]:
    """Push at once, to a few tags, and return the outcomes in the order of the pushes."""
    bodies = [mapping(f"t{number % 3}", f"i{number % IMAGES}") for number in range(count)]
    asked = [
        handler.handle(request(body, f"push-{number}", repeatable=repeatable)) for number, body in enumerate(bodies)
    ]
    return await asyncio.gather(*asked)


def check(log: MemoryLog, outcomes: list[Outcome]) -> None:
    """Assert that each push is one event, the one its outcome tells, and that every tag's chain is unbroken."""
    stored = dict(log.stored)
    heads: dict[str, str | None] = {}
    for event in stored.values():
        if isinstance(event, TagEvent):
            assert event.previous_image == heads.get(event.tag)
            heads[event.tag] = event.image
    pushes = [event for event in stored.values() if event.cause.startswith("push-")]
    assert len({event.cause for event in pushes}) == len(pushes) == len(outcomes)
    for number, done in enumerate(outcomes):
        event = stored[done.position]
        assert (event.cause, event.number, event.last) == (f"push-{number}", 1, True)
        assert isinstance(event, TagEvent)
        assert done.moves == [{"tag": event.tag, "image": event.image, "previousImage": event.previous_image}]


@pytest.mark.parametrize("repeatable", [False, True])
def test_waiting_pushes_are_appended_together_in_their_order(repeatable: bool) -> None:
    """A hundred pushes at once take a few appends, and are stored in the order they came."""

    async def scenario() -> None:
        log = SlowLog()
        outcomes = await push(await prepared(log), 100, repeatable=repeatable)
        check(log, outcomes)
        assert [done.position for done in outcomes] == sorted(done.position for done in outcomes)
        assert max(log.groups) == 64

    asyncio.run(scenario())


def test_the_state_afterwards_is_the_logs() -> None:
    """What a group leaves in memory, positions included, is what a fresh load tells."""

    async def scenario() -> None:
        log = SlowLog()
        handler = await prepared(log)
        await push(handler, 50)
        [aggregate] = handler._aggregates.values()
        assert aggregate.state == await log.load(APP)

    asyncio.run(scenario())


def test_only_plain_pushes_go_together() -> None:
    """Whatever needs positions, lookups or several events keeps its turn between the groups."""

    async def scenario() -> None:
        log = SlowLog()
        handler = await prepared(log)
        others = [
            tag_of("follower", alias("app:latest")),
            mapping("latest", "i1"),
            mapping("latest", "i1") | {"expectedImage": digest("i7")},
            on("RollbackTag", "latest"),
            mapping("latest", "i2"),
            mapping("latest", "i2") | {"dryRun": True},
        ]
        asked = []
        for number, body in enumerate(others):
            asked += [handler.handle(request(mapping("t", f"i{each}"), f"push-{number}-{each}")) for each in (1, 2)]
            asked.append(handler.handle(request(body, f"other-{number}")))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [number for number, done in enumerate(outcomes) if isinstance(done, Exception)]
        assert refused == [8]
        assert isinstance(outcomes[8], Conflict)
        state = await log.load(APP)
        [aggregate] = handler._aggregates.values()
        assert aggregate.state == state
        assert state.tags["t"].head is not None and state.tags["t"].head.image == digest("i2")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (StaleState(None), False),  # a chain that is stale at its first link stores nothing
        (UnknownOutcome("no ack"), False),
        (UnknownOutcome("no ack"), True),
        (Unavailable("gone"), False),
        (Unavailable("gone"), True),
    ],
)
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_broken_chain_loses_and_repeats_nothing(error: Exception, stored: bool, repeatable: bool) -> None:
    """Whatever part of a group is stored when it fails, each push ends as one event."""

    async def scenario() -> None:
        log = SlowLog((0, error, stored), (2, error, stored))
        outcomes = await push(await prepared(log), 150, repeatable=repeatable)
        check(log, outcomes)

    asyncio.run(scenario())


def test_a_cancelled_push_leaves_the_others_their_turn() -> None:
    """Whoever is cancelled, at the head of a group or within it, all others are answered, and once."""

    async def scenario(chosen: random.Random) -> None:
        log = SlowLog()
        handler = await prepared(log)
        bodies = [mapping(f"t{number % 3}", f"i{number % IMAGES}") for number in range(30)]
        tasks = [
            asyncio.create_task(handler.handle(request(body, f"push-{number}"))) for number, body in enumerate(bodies)
        ]
        for _ in range(chosen.randrange(6)):
            await asyncio.sleep(0)
        cancelled = {0, 1, *chosen.sample(range(30), 5)}
        for number in cancelled:
            tasks[number].cancel()
        async with asyncio.timeout(5):
            found = await asyncio.gather(*tasks, return_exceptions=True)
        causes = [event.cause for _, event in log.stored if isinstance(event, TagEvent)]
        assert len(causes) == len(set(causes))
        for number, done in enumerate(found):
            if number not in cancelled:
                assert isinstance(done, Outcome)
                assert f"push-{number}" in causes or not done.changed
        assert handler.in_flight == 0

    for seed in range(20):
        asyncio.run(scenario(random.Random(seed)))


def test_one_at_a_time_where_that_is_set() -> None:
    """A bound of one switches grouping off."""

    async def scenario() -> None:
        log = SlowLog()
        check(log, await push(await prepared(log, together=1), 20))
        assert log.groups == []

    asyncio.run(scenario())


def test_a_state_knows_where_each_tag_ended() -> None:
    """While a group's positions are not known it is where the group begins. Seen to fail when they were kept as 0."""
    moved, other = tagged("a", 1, "c"), tagged("b", 1, "d")
    state = load(ImageStreamName("prod", "api"), [(3, created()), (2, moved)])
    for event in (moved, other):
        evolve(state, event, 0)
    assert state.previous([moved, other, created()]) == [2, 0, 3]
    assert evolve(state, moved, 4).previous([moved]) == [4]
