"""The port `Log`: the promises that the application relies on, kept by every log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest

from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_streams import declare
from tagstack.application.ports import ReadableLog
from tagstack.domain.errors import StaleState
from tagstack.domain.events import (
    EVENT_VERSION,
    Event,
    Head,
    ImageAnnotated,
    ImageRecorded,
    ImageSigned,
    ImageStreamCreated,
    ImageStreamEvent,
    ImageTagged,
)
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.times import text_of
from tests.examples_nats import digest
from tests.memory_log import MemoryLog

API = ImageStreamName("prod", "api")
OTHER = ImageStreamName("prod", "api.v2")
TIME = "2026-01-01T00:00:00.000000Z"
Scenario = Callable[[ReadableLog], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "nats", "grouped"])
def play(request: Any, tmp_path: Path) -> Iterator[Play]:
    """Run a scenario on a fresh log of each kind."""
    if request.param == "memory":
        yield lambda scenario: asyncio.run(scenario(MemoryLog(skip=7)))  # type: ignore[arg-type]
        return
    server = NatsServer(tmp_path / "nats").start()

    async def on_nats(scenario: Scenario) -> None:
        nc = await nats.connect(server.url)
        await declare(nc)
        await scenario(await NatsLog(nc, grouped=request.param == "grouped").start())
        await nc.close()

    yield lambda scenario: asyncio.run(on_nats(scenario))
    server.stop()


def told(cause: str, number: int = 1, *, last: bool = True) -> dict[str, Any]:
    """Return what every event says."""
    return {
        "time": TIME,
        "actor": "me",
        "cause": cause,
        "number": number,
        "origin": "mapping",
        "reason": "",
        "caused_by": None,
        "last": last,
        "version": EVENT_VERSION,
    }


def created(name: ImageStreamName = API, cause: str = "c", *, last: bool = True) -> ImageStreamEvent:
    """Return the event that begins an image stream."""
    return ImageStreamCreated(
        **told(cause, last=last),
        namespace=name.namespace,
        image_stream=name.name,
        uid="u",
        generation=1,
        created=TIME,
        labels={},
        annotations={},
        lookup_local=False,
        docker_image_repository="",
    )


def tagged(tag: str, number: int, cause: str, n: int = 1, name: ImageStreamName = API) -> ImageTagged:
    """Return the event that moves a tag to image `number`."""
    head = Head(
        image=digest(number), pull_spec="p", generation=1, since=TIME, actor="me", origin="mapping", cause=cause
    )
    return ImageTagged(
        **told(cause, n),
        namespace=name.namespace,
        image_stream=name.name,
        uid="u",
        generation=1,
        tag=tag,
        image=digest(number),
        previous_image=None,
        pull_spec="p",
        head=head,
        spec=None,
        hold=None,
    )


def recorded(number: int, cause: str = "c") -> ImageRecorded:
    """Return the event that records image `number`."""
    return ImageRecorded(**told(cause), image=digest(number), data={"by": cause})


async def filled(log: ReadableLog) -> list[int]:
    """Store two moves of one tag, one of another, and a neighbour whose name begins alike."""
    first = await log.append(API, [created(last=False), tagged("latest", 1, "c", 2)], 0)
    await log.append(OTHER, [created(OTHER, "o", last=False), tagged("latest", 9, "o", 2, OTHER)], 0)
    second = await log.append(API, [tagged("v1.2", 2, "d")], first)
    third = await log.append(API, [tagged("latest", 3, "e")], second)
    return [first - 1, first, second, third]


def test_events_are_stored_after_the_position_that_was_expected(play: Play) -> None:
    """A batch takes consecutive positions; an expectation that is not so is stale and stores nothing."""

    async def scenario(log: ReadableLog) -> None:
        positions = await filled(log)
        for wrong in (0, positions[2], positions[3] + 1):
            with pytest.raises(StaleState):
                await log.append(API, [tagged("latest", 4, f"w{wrong}")], wrong)
            with pytest.raises(StaleState):
                await log.append(API, [tagged("a", 4, f"b{wrong}"), tagged("b", 4, f"b{wrong}", 2)], wrong)
        assert [position for position, _ in await log.after(API, 0)] == positions

    play(scenario)


def test_appends_at_the_same_time_are_each_stored_or_refused(play: Play) -> None:
    """One that is stale, and two that record the same image, take none of the others with them.

    Seen to fail when every member of a group was told what the group's batch was told.
    """

    async def scenario(log: ReadableLog) -> None:
        await filled(log)
        names = [ImageStreamName("prod", f"s{number}") for number in range(60)]
        new = [log.append(name, [created(name, last=False), tagged("a", 1, "c", 2, name)], 0) for name in names]
        asked = [*new[:30], log.append(API, [tagged("a", 4, "w")], 1), *new[30:]]
        found = await asyncio.gather(*asked, log.record(recorded(1)), log.record(recorded(1)), return_exceptions=True)
        stale = [number for number, each in enumerate(found) if isinstance(each, StaleState)]
        assert stale[0] == 30
        assert len(stale) == 2
        positions = [position for position in found if isinstance(position, int)]
        assert len(set(positions)) == 61
        for name, last in zip(names, found[:30] + found[31:-2], strict=True):
            assert isinstance(last, int)
            assert [position for position, _ in await log.after(name, 0)] == [last - 1, last]

    play(scenario)


def test_a_chain_is_stored_in_its_order_or_not_at_all(play: Play) -> None:
    """Events of one command each, in a row; a stale beginning refuses all of them."""

    async def scenario(log: ReadableLog) -> None:
        last = (await filled(log))[-1]
        events = [(tagged("latest", 10 + number, f"k{number}"), copy_context()) for number in range(5)]
        with pytest.raises(StaleState):
            await log.append_chain(API, events, last + 1)
        positions = await log.append_chain(API, events, last)
        assert [(position, event.cause) for position, event in await log.after(API, last)] == [
            (position, f"k{number}") for number, position in enumerate(positions)
        ]

    play(scenario)


def test_state_is_the_last_event_of_each_tag(play: Play) -> None:
    """Loading tells position, tags and heads, with the head's position; an unknown image stream is an empty one."""

    async def scenario(log: ReadableLog) -> None:
        positions = await filled(log)
        state = await log.load(API)
        assert (state.exists, state.position, sorted(state.tags)) == (True, positions[3], ["latest", "v1.2"])
        head = state.tags["latest"].head
        assert head is not None
        assert (head.image, head.position) == (digest(3), positions[3])
        nothing = await log.load(ImageStreamName("prod", "ap"))
        assert (nothing.exists, nothing.position, nothing.tags) == (False, 0, {})

    play(scenario)


def test_history_goes_up_to_a_position(play: Play) -> None:
    """Of one tag or of all, in order, never beyond the position asked for, never a neighbour's."""

    async def scenario(log: ReadableLog) -> None:
        first, second, third, fourth = await filled(log)
        assert [p for p, _ in await log.history(API, None, fourth)] == [first, second, third, fourth]
        assert [p for p, _ in await log.history(API, None, third)] == [first, second, third]
        assert [p for p, _ in await log.history(API, "latest", fourth)] == [second, fourth]
        assert [p for p, _ in await log.history(API, "latest", third)] == [second]
        assert [e.cause for _, e in await log.history(API, "v1.2", fourth)] == ["d"]
        assert await log.history(API, "none", fourth) == []

    play(scenario)


def test_reading_on_begins_after_a_position(play: Play) -> None:
    """What comes after a position, and nothing at the end or beyond."""

    async def scenario(log: ReadableLog) -> None:
        _, second, third, fourth = await filled(log)
        assert [p for p, _ in await log.after(API, second)] == [third, fourth]
        assert await log.after(API, fourth) == []
        assert await log.after(API, fourth + 100) == []

    play(scenario)


def test_reading_on_misses_nothing_however_it_was_stored(play: Play) -> None:
    """Single events, those of one command, a row of commands, others between them: from any position, all that follow.

    Seen to fail when an event without a guard was taken for the first one, and when the newest
    few were all that was told.
    """

    async def scenario(log: ReadableLog) -> None:
        last = (await filled(log))[-1]
        row = [(tagged("latest", number, f"r{number}"), copy_context()) for number in range(3)]
        last = (await log.append_chain(API, row, last))[-1]
        for number in range(20):
            await log.record(recorded(number))
            last = await log.append(API, [tagged("latest", number, f"s{number}")], last)
        last = await log.append(API, [tagged(f"t{n}", n, "batch", n) for n in range(1, 4)], last)
        every = await log.history(API, None, last)
        assert len(every) == 4 + 3 + 20 + 3
        for position in range(last + 1):
            assert await log.after(API, position) == [stored for stored in every if stored[0] > position]

    play(scenario)


def test_reading_since_a_time(play: Play) -> None:
    """Everything stored at that moment or later; everything for no time at all; nothing of the future."""

    async def scenario(log: ReadableLog) -> None:
        positions = await filled(log)
        moment = datetime.now(UTC)
        assert [p for p, _ in await log.since(API, "")] == positions
        assert [p for p, _ in await log.since(API, text_of(moment - timedelta(minutes=1)))] == positions
        assert await log.since(API, text_of(moment + timedelta(minutes=1))) == []

    play(scenario)


def test_an_image_is_recorded_once(play: Play) -> None:
    """The second time is stale and the first one's metadata stays."""

    async def scenario(log: ReadableLog) -> None:
        assert await log.image(digest(1)) is None
        await log.record(recorded(1, "first"))
        with pytest.raises(StaleState):
            await log.record(recorded(1, "second"))
        found = await log.image(digest(1))
        assert found is not None
        assert found.data == {"by": "first"}

    play(scenario)


def test_what_stands_beside_an_image(play: Play) -> None:
    """The newest annotations and every signature, each under a subject of its own with its own expectation."""

    async def scenario(log: ReadableLog) -> None:
        await log.record(recorded(1))
        first = ImageAnnotated(**told("a"), image=digest(1), annotations={"a": "1"})
        position = await log.record(first)
        with pytest.raises(StaleState):
            await log.record(first)
        second = ImageAnnotated(**told("b"), image=digest(1), annotations={"a": "2"})
        await log.record(second, position)
        signature = ImageSigned(**told("s"), image=digest(1), name="s/1", data={})
        await log.record(signature)
        assert [event.cause for _, event in await log.beside(digest(1))] == ["b", "s"]
        assert [event.cause for _, event in await log.of_subject(first)] == ["a", "b"]
        last = await log.last(first)
        assert last is not None
        assert last[1] == second
        assert await log.beside(digest(2)) == []

    play(scenario)


def test_single_events_can_be_looked_up(play: Play) -> None:
    """By position, and the last one of a tag."""

    async def scenario(log: ReadableLog) -> None:
        positions = await filled(log)
        event = await log.at(positions[2])
        assert isinstance(event, Event)
        assert event.cause == "d"
        assert await log.at(positions[3] + 1_000) is None
        found = await log.tag_event(TagName(API, "latest"))
        assert found is not None
        assert (found[0], found[1].cause) == (positions[3], "e")
        assert await log.tag_event(TagName(API, "none")) is None

    play(scenario)


def test_image_streams_are_listed(play: Play) -> None:
    """The image streams of a namespace, or of all, by name: what their events hold does not matter."""

    async def scenario(log: ReadableLog) -> None:
        await filled(log)
        await log.append(ImageStreamName("dev", "api"), [created(ImageStreamName("dev", "api"), "x")], 0)
        assert {name.name for name in await log.image_streams("prod")} == {"api", "api.v2"}
        assert {name.namespace for name in await log.image_streams("")} == {"prod", "dev"}
        assert await log.image_streams("pro") == []

    play(scenario)
