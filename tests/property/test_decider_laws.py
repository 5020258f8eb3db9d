"""What holds of every decision, whatever was sent before."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import Any

import msgspec
from hypothesis import given, settings

from tagstack.adapters.nats_subjects import event_subject
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.domain import stack
from tagstack.domain.deletion import owed_deletes
from tagstack.domain.errors import Refused
from tagstack.domain.events import Event, ImageTagged, TagEvent
from tagstack.domain.image_stream import ImageStream, evolve, load
from tagstack.domain.names import ImageStreamName
from tests.examples import Story
from tests.memory_log import MemoryLog
from tests.property.commands import STREAMS, stories

LAW = settings(max_examples=120, deadline=None)


def as_told(state: ImageStream) -> bytes:
    """Return everything a state says, in a form that can be compared."""
    return msgspec.json.encode(state, order="sorted")


def tell(story: Story, body: dict[str, Any]) -> list[Event]:
    """Let a story go on; a refused command is no part of it."""
    try:
        return story.do(body)
    except Refused:
        return []


@LAW
@given(stories)
def test_an_accepted_commands_events_always_evolve(bodies: list[dict[str, Any]]) -> None:
    """Each event leads to the state it tells: the head, the spec and the hold it carries are the tag's."""
    story = Story()
    for body in bodies:
        for event in tell(story, body):
            state = story.state(event.image_stream)
            if isinstance(event, TagEvent) and event.last and state.exists:
                tag = state.tag(event.tag)
                assert (tag.head.image if tag.head else None) == event.image
                assert (tag.spec, tag.hold) == (event.spec, event.hold)


@LAW
@given(stories)
def test_replay_equals_live(bodies: list[dict[str, Any]]) -> None:
    """Folding events as they come, all of them again, or the last of each subject is the same."""
    story = Story()
    live = {name: ImageStream(ImageStreamName("test", name)) for name in STREAMS}
    for body in bodies:
        for event in tell(story, body):
            position = next(position for position, stored in story.log.stored if stored is event)
            evolve(live[event.image_stream], event, position)
    for name, state in live.items():
        target = ImageStreamName("test", name)
        events = asyncio.run(story.log.history(target, None, len(story.log.stored)))
        replayed = ImageStream(target)
        for position, event in events:
            evolve(replayed, event, position)
        newest = {event_subject(event): (position, event) for position, event in events}
        assert as_told(state) == as_told(replayed) == as_told(load(target, newest.values()))


@LAW
@given(stories)
def test_deciding_changes_no_state(bodies: list[dict[str, Any]]) -> None:
    """A rejected command changes nothing, and an accepted one nothing before its events are folded."""
    story = Story()
    for body in bodies:
        before = {name: as_told(story.state(name)) for name in STREAMS}
        stored = copy.copy(story.log.stored)
        with contextlib.suppress(Refused):
            story.decide(body)
        assert {name: as_told(story.state(name)) for name in STREAMS} == before
        assert story.log.stored == stored
        tell(story, body)


@LAW
@given(stories)
def test_a_commands_events_are_one_piece(bodies: list[dict[str, Any]]) -> None:
    """Numbered without a gap, one marked as the last, at one time that never goes back."""
    story = Story()
    newest = dict.fromkeys(STREAMS, "")
    for body in bodies:
        events = tell(story, body)
        if not events:
            continue
        assert sorted(event.number for event in events) == list(range(1, len(events) + 1))
        assert [event.last for event in events] == [False] * (len(events) - 1) + [True]
        assert {event.time for event in events} == {events[0].time}
        assert events[0].time >= newest[events[0].image_stream]
        newest[events[0].image_stream] = events[0].time
        assert owed_deletes(story.state(events[0].image_stream)) == []


@LAW
@given(stories)
def test_no_image_is_ever_lost_from_a_stack(bodies: list[dict[str, Any]]) -> None:
    """A history only grows at its top, by every move to another image."""
    story = Story()
    for body in bodies:
        before = images_of(story)
        events = tell(story, body)
        for tag, after in images_of(story).items():
            moves = [
                event
                for event in events
                if isinstance(event, ImageTagged)
                and (event.image_stream, event.tag) == tag
                and event.image != event.previous_image
            ]
            assert after == [event.image for event in reversed(moves)] + before.get(tag, [])


def images_of(story: Story) -> dict[tuple[str, str], list[str]]:
    """Return the images of every tag's stack, newest first."""
    found = {}
    for name in STREAMS:
        events = asyncio.run(story.log.history(ImageStreamName("test", name), None, len(story.log.stored)))
        for tag, entries in stack.fold_tags(events).items():
            found[name, tag] = [entry.head.image for entry in entries]
    return found


@LAW
@given(stories)
def test_a_repeated_command_changes_nothing(bodies: list[dict[str, Any]]) -> None:
    """At once or after all others, a command that wrote an event is answered the same and writes no more."""
    log = MemoryLog()
    around = Surroundings(now=lambda: "2026-01-01T00:00:00.000000Z", uid=lambda: str(len(log.stored)), grants=Grants())
    handler = CommandHandler(log, around)
    requests = [request_of(number, body) for number, body in enumerate(bodies)]

    async def send(request: Request) -> Outcome | None:
        try:
            return await handler.handle(request)
        except Refused:
            return None

    async def run() -> None:
        done = []
        for request in requests:
            outcome = await send(request)
            if outcome is None or not outcome.changed:
                continue
            stored = len(log.stored)
            assert await send(request) == outcome
            assert len(log.stored) == stored
            done.append((request, outcome))
        stored = len(log.stored)
        handler.forget()
        for request, outcome in done:
            assert await send(request) == outcome
        assert len(log.stored) == stored

    asyncio.run(run())


def request_of(number: int, body: dict[str, Any]) -> Request:
    """Return the request that carries a body."""
    name = body["metadata"]["name"].partition(":")[0]
    target = ImageStreamName("test", name)
    return Request(actor="alice", target=target, body=msgspec.json.encode(body), command_id=f"command-{number}")
