"""The past of an image stream is whole, whichever events say what came before them, and is found without a search."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_direct import DirectGet, StoredMessage
from tagstack.adapters.nats_history import LINKS_PER_LOOK, PREVIOUS, TIME, Past, Start, previous_of
from tagstack.adapters.nats_log import NatsLog, decode, message_of
from tagstack.adapters.nats_streams import declare
from tagstack.adapters.nats_subjects import image_stream_events, tag_events
from tagstack.application.ports import Stored
from tagstack.domain.image_stream import evolve
from tagstack.domain.names import ImageStreamName
from tests.contract.test_log import created, recorded, tagged
from tests.examples_nats import client_of, run

API = ImageStreamName("prod", "api")
OTHER = ImageStreamName("prod", "other")
LATEST = tag_events(API, "latest")
TAGS = ("latest", "a", "b")


class Counting(DirectGet):
    """Counts single messages and searches."""

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self.gets = self.searches = 0

    async def at(self, position: int) -> StoredMessage | None:
        """Return the message at one position."""
        self.gets += 1
        return await super().at(position)

    async def read(self, subject: str, *rest: Any, **wanted: Any) -> list[StoredMessage]:
        """Return the messages under a filter."""
        self.searches += 1
        return await super().read(subject, *rest, **wanted)


@asynccontextmanager
async def a_log(url: str) -> AsyncIterator[tuple[NatsLog, Counting, Client]]:
    """Yield an empty log, and a reader that counts."""
    async with client_of(url) as nc:
        await declare(nc)
        yield await NatsLog(nc).start(), await Counting(nc).start(), nc  # type: ignore[misc]


async def stored_by(log: NatsLog, dice: random.Random, linked: float, appends: int) -> None:
    """Store events alone, several at once and in rows, images in between; `linked` of them say what came before."""
    await log.append(API, [created(last=False)], 0, [0])
    state = await log.load(API)
    for number in range(1, appends):
        await log.record(recorded(number))
        tags = [dice.choice(TAGS) for _ in range(dice.choice((1, 1, 1, 2, 5)))]
        events = [tagged(tag, number, f"{number}-{place}", place) for place, tag in enumerate(tags, 1)]
        previous = state.previous(events) if dice.random() < linked else ()
        if dice.random() < 0.3:
            row = [(event, copy_context()) for event in events]
            last = (await log.append_chain(API, row, state.position, previous))[-1]
        else:
            last = await log.append(API, events, state.position, previous)
        for position, event in enumerate(events, last - len(events) + 1):
            evolve(state, event, position)


def told(messages: list[StoredMessage]) -> list[Stored]:
    """Return messages as events with their positions."""
    return [(message.position, decode(message.position, message.body)) for message in messages]


@pytest.mark.parametrize("linked", [0.0, 0.5, 0.9, 1.0])
def test_the_past_is_whole_whoever_wrote_it(nats_url: str, linked: float) -> None:
    """Of a tag, of the image stream, from a position or a time on, where workers of both kinds took turns.

    Seen to fail when a link within one append was counted from its end, when what came before an event
    without a link was left out, and when each event of a row named the last one before the row.
    """

    async def scenario() -> None:
        async with a_log(nats_url) as (log, direct, _):
            dice = random.Random(int(linked * 10))
            await stored_by(log, dice, linked, 30)
            every = await direct.read(image_stream_events(API))
            last = every[-1].position
            for tag in TAGS:
                assert await log.history(API, tag, last) == told(
                    [m for m in every if m.subject == tag_events(API, tag)]
                )
            assert await log.history(API, "nobody", last) == []
            middle = every[len(every) // 2]
            assert await log.history(API, None, middle.position) == told(every[: len(every) // 2 + 1])
            assert await log.since(API, "") == told(every)
            time = middle.headers[TIME]
            assert await log.since(API, time) == told([m for m in every if m.headers[TIME] >= time[:26]])
            for position in range(0, last, 5):
                assert await log.after(API, position) == told([m for m in every if m.position > position])

    run(scenario)


def test_each_event_costs_one_get_and_nothing_is_searched(nats_url: str) -> None:
    """Whatever others stored in between. Seen to fail when an append named no previous events."""

    async def scenario() -> None:
        async with a_log(nats_url) as (log, direct, _):
            await stored_by(log, random.Random(1), 1.0, 20)
            every = await direct.read(image_stream_events(API))
            newest = await direct.last_per_subject([image_stream_events(API)])
            direct.gets = direct.searches = 0
            assert told(await Past(direct).of_subjects(newest)) == told(every)
            assert (direct.gets, direct.searches) == (len(every) - len(newest), 0)
            assert await Past(direct).of_subjects(newest, Start(every[-1].position + 1)) == []
            assert direct.gets == len(every) - len(newest)

    run(scenario)


def test_a_link_that_leads_elsewhere_is_not_believed(nats_url: str) -> None:
    """To another tag, to nothing, forward, to itself: what came before is looked for.

    Seen to fail when a link to another tag's event was followed, and when one forward was.
    """

    async def scenario() -> None:
        async with a_log(nats_url) as (log, _, nc):
            js = nc.jetstream()
            for number, tag in enumerate(("latest", "a", "latest"), 1):
                message = message_of(tagged(tag, number, f"c{number}"))
                await js.publish(message.subject, message.body)
            for number, link in enumerate(("2", "999", "7", "6", "-1"), 4):
                message = message_of(tagged("latest", number, f"c{number}"))
                await js.publish(message.subject, message.body, headers={PREVIOUS: link})
                found = await log.history(API, "latest", 100)
                assert [position for position, _ in found] == [1, 3, *range(4, number + 1)]

    run(scenario)


def test_events_near_to_each_other_are_read_together(nats_url: str) -> None:
    """A tag that moves all the time is not followed link by link to its beginning. Seen to fail without the look."""

    async def scenario() -> None:
        async with a_log(nats_url) as (_, direct, nc):
            message = message_of(tagged("latest", 1, "c"))
            for number in range(3 * LINKS_PER_LOOK):
                await nc.jetstream().publish(message.subject, message.body, headers={PREVIOUS: str(number)})
            newest = await direct.last(LATEST)
            assert newest is not None
            found = await Past(direct).of_subject(newest)
            assert [each.position for each in found] == list(range(1, 3 * LINKS_PER_LOOK + 1))
            assert (direct.gets, direct.searches) == (LINKS_PER_LOOK - 1, 1)

    run(scenario)


def test_more_tags_than_the_server_tells_at_once(nats_url: str) -> None:
    """The past of an image stream of 1,100 tags, whose last events come without their headers.

    Seen to fail when these were not read once more.
    """

    async def scenario() -> None:
        async with a_log(nats_url) as (log, direct, nc):
            for turn in range(2):
                for number in range(1_100):
                    message = message_of(tagged(f"t{number}", turn, f"c{turn}-{number}"))
                    headers = {PREVIOUS: str(turn and number + 1)}
                    await nc.publish(message.subject, message.body, headers=headers)
            await nc.jetstream().publish(tag_events(OTHER, "a"), b"{}")
            every = await direct.read(image_stream_events(API))
            assert len(every) == 2_200
            assert await log.history(API, None, 2_200) == told(every)
            assert [previous_of(m.position, m.headers) for m in every] == [0] * 1_100 + list(range(1, 1_101))

    run(scenario)
