"""Writes a history straight into the log, with nobody waiting for the ack of each event.

Only what is unguarded and lost by nobody may be written this way: the history's image streams are
its own until it is stored.
"""

from __future__ import annotations

import asyncio

from tagstack.adapters.nats_history import link
from tagstack.adapters.nats_log import message_of
from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, jetstream, log_position, stream_info
from tagstack.bench.history import History
from tagstack.bench.stage import Stage
from tagstack.domain.errors import TagstackError, Unavailable
from tagstack.domain.events import OF_IMAGE_STREAM, TagEvent

ACK_EVERY = 512  # messages
UNACKED_MAX = 8  # times ACK_EVERY: the server drops what comes much faster than it stores
ACK_TIMEOUT_S = 60.0
TAGS_TIMEOUT_S = 600.0
POLL_S = 0.1
DUPLICATE_WINDOW_S = 1  # meanwhile, since the server keeps the id of every message of the window in memory


async def fill(stage: Stage, history: History, events: int, tags: int) -> int:
    """Store what `History.take` gives, wait until the stream of tags has it too, and return the log's position.

    Raises: Unavailable where the log does not answer, TagstackError where it did not take every event.
    """
    before, sourced = await log_position(stage.nc), await _sourced(stage)
    window = (await stream_info(stage.nc, EVENTS_STREAM))["config"]["duplicate_window"]
    await _set_window(stage, DUPLICATE_WINDOW_S * 10**9)
    count, of_tags = await _send(stage, history, events, tags, before)
    await _set_window(stage, window)
    position = await log_position(stage.nc)
    if position != before + count:
        raise TagstackError(f"of {count} events {position - before} are in the log")
    await _until_sourced(stage, sourced + of_tags)
    return position


async def _send(stage: Stage, history: History, events: int, tags: int, before: int) -> tuple[int, int]:
    """Send events behind position `before` and return how many there were, and how many of tags."""
    transport, inbox, count, of_tags = stage.transport, stage.transport.new_inbox(), 0, 0
    room = asyncio.Semaphore(UNACKED_MAX)
    unsubscribe = await transport.subscribe(inbox, lambda _: room.release())
    try:
        for count, event in enumerate(history.take(events, tags), 1):
            of_tags += isinstance(event, TagEvent)
            last = count % ACK_EVERY == 0
            if last:
                await _taken(room)
            message = message_of(event)
            if isinstance(event, OF_IMAGE_STREAM):
                link([message], [history.ends.get(message.subject, 0)])
                history.ends[message.subject] = before + count
            transport.send(message.subject, message.body, inbox if last else "", message.headers)
        await transport.flush()
        for _ in range(UNACKED_MAX):
            await _taken(room)
    finally:
        await unsubscribe()
    return count, of_tags


async def _taken(room: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(ACK_TIMEOUT_S):
            await room.acquire()
    except TimeoutError:
        raise Unavailable(f"the log gave no ack within {ACK_TIMEOUT_S} s") from None


async def _set_window(stage: Stage, nanoseconds: int) -> None:
    config = (await stream_info(stage.nc, EVENTS_STREAM))["config"]
    answer = await jetstream(stage.nc, f"STREAM.UPDATE.{EVENTS_STREAM}", config | {"duplicate_window": nanoseconds})
    if "error" in answer:
        raise TagstackError(f"stream {EVENTS_STREAM} can't be changed: {answer['error']['description']}")


async def _sourced(stage: Stage) -> int:
    return int((await stream_info(stage.nc, TAGS_STREAM))["state"]["last_seq"])


async def _until_sourced(stage: Stage, wanted: int) -> None:
    try:
        async with asyncio.timeout(TAGS_TIMEOUT_S):
            while await _sourced(stage) < wanted or await _lag(stage):  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Unavailable(f"stream {TAGS_STREAM} lags behind for more than {TAGS_TIMEOUT_S} s") from None


async def _lag(stage: Stage) -> int:
    return int((await stream_info(stage.nc, TAGS_STREAM))["sources"][0]["lag"])
