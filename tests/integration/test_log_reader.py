"""The log's reader keeps its promises over nats-py and over the connection of our own alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_reader import LogSource, NatsReader, ReaderLimits
from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_streams import declare
from tagstack.adapters.nats_wire import WireTransport
from tagstack.adapters.nats_wire_parser import find_header, read_headers
from tagstack.application.read_models import LogMessage, ReaderLost
from tests.integration.reading import in_a_loop

WAIT_S = 15.0
SUBJECT = "tagstack.events.prod.api.stream"
both = pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])


@asynccontextmanager
async def source(url: str, fast: bool, messages: int = 100) -> AsyncIterator[tuple[LogSource, Client]]:
    """Yield the log as the projector reads it, and the connection that asks about it."""
    nc = await connect(url, "reader")
    transport = await WireTransport(url, "reader-fast").connect() if fast else None
    try:
        await declare(nc)
        yield LogSource(nc, ReaderLimits(messages=messages), transport), nc
    finally:
        if transport is not None:
            await transport.close()
        await nc.close()


async def publish(url: str, first: int, last: int) -> None:
    """Store messages whose body is their position; those at odd positions have an identity."""
    nc = await nats.connect(url)
    for position in range(first, last + 1):
        headers = {"ce-type": "x", "ce-id": f"id-{position}", "z": "1"} if position % 2 else None
        await nc.jetstream().publish(SUBJECT, b"%d\r\n" % position, headers=headers)
    await nc.close()


def stored(first: int, last: int) -> list[LogMessage]:
    """Return what `publish` stored, as a reader hands it out."""
    return [
        LogMessage(position, SUBJECT, b"%d\r\n" % position, f"id-{position}" if position % 2 else "")
        for position in range(first, last + 1)
    ]


async def taken(reader: NatsReader, count: int) -> list[LogMessage]:
    """Take until there are so many."""
    found: list[LogMessage] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            found += await reader.take(0.1)
    return found


@both
@in_a_loop
async def test_messages_come_in_order_with_their_identity(nats_url: str, fast: bool) -> None:
    """From any position, those stored later too, in batches within the bound."""
    async with source(nats_url, fast, messages=4) as (log, _):
        await publish(nats_url, 1, 9)
        assert (await log.identity(3)).event_id == "id-3"
        reader = await log.read(2)
        first = await taken(reader, 1)
        assert len(first) <= 4
        rest = await taken(reader, 7 - len(first))
        assert first + rest == stored(3, 9)
        await publish(nats_url, 10, 12)
        assert await taken(reader, 3) == stored(10, 12)
        assert reader.log_position == 12
        await reader.stop()


@both
@in_a_loop
async def test_the_end_of_a_request_is_not_taken_for_silence(nats_url: str, fast: bool) -> None:
    """Whoever waits for messages goes on waiting when the server says that a request is over."""
    async with source(nats_url, fast) as (log, nc):
        reader = await log.read(0)
        waiting = asyncio.create_task(reader.take(WAIT_S))
        over = {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "0"}
        await nc.publish(reader._inbox, b"", headers=over)
        await nc.flush()
        await publish(nats_url, 1, 1)
        assert await waiting == stored(1, 1)
        await reader.stop()


@both
@in_a_loop
async def test_a_reader_ends_with_the_server(nats_server: NatsServer, fast: bool) -> None:
    """After the server was killed it hands out nothing of what comes then; another reader goes on."""
    async with source(nats_server.url, fast) as (log, _):
        await publish(nats_server.url, 1, 3)
        await log.identity(0)
        reader = await log.read(0)
        assert await taken(reader, 3) == stored(1, 3)
        nats_server.kill()
        nats_server.start()
        await publish(nats_server.url, 4, 5)
        with pytest.raises(ReaderLost):
            await taken(reader, 1)
        await reader.stop()
        await log.identity(3)
        again = await log.read(3)
        assert await taken(again, 2) == stored(4, 5)
        await again.stop()


@both
@in_a_loop
async def test_no_reader_of_another_log_than_the_one_looked_at(nats_server: NatsServer, fast: bool) -> None:
    """Where the connection was lost after the identity was asked for, it has to be asked for again."""
    async with source(nats_server.url, fast) as (log, nc):
        await log.identity(0)
        nats_server.kill()
        nats_server.start()
        async with asyncio.timeout(WAIT_S):
            while nc.stats["reconnects"] == 0:  # noqa: ASYNC110 there is nothing to be told by
                await asyncio.sleep(0.02)
        with pytest.raises(ReaderLost):
            await log.read(0)


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0\r\nce-id: one\r\n\r\n",
        b"NATS/1.0\r\nx-ce-id: no\r\nce-id:one\r\nce-id:  two \r\nz: 1\r\n\r\n",
        b"NATS/1.0\r\nother: ce-id: no\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"",
    ],
)
def test_one_header_is_read_as_among_all(block: bytes) -> None:
    """Found alone it has the value that it has among all headers, "" where it is missing."""
    assert find_header(block, "ce-id") == read_headers(block).get("ce-id", "")
