"""The promises of the port `Transport`, kept by nats-py and by the fast path alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import declare
from tagstack.adapters.nats_transport import PlainTransport, Transport
from tagstack.adapters.nats_wire import WireTransport
from tagstack.adapters.nats_wire_format import Unsuited, header_block
from tagstack.adapters.nats_wire_parser import Parser, read_headers
from tagstack.domain.errors import StaleState, TooLarge, Unavailable

WAIT_S = 10.0

Open = Callable[[str], Any]


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Transport]:
    """The port over nats-py."""
    nc = await connect(url, "test")
    try:
        yield PlainTransport(nc)
    finally:
        await nc.close()


@asynccontextmanager
async def fast(url: str) -> AsyncIterator[Transport]:
    """The port over a connection of our own."""
    wire = await WireTransport(url, "test").connect()
    try:
        yield wire
    finally:
        await wire.close()


both = pytest.mark.parametrize("opened", [plain, fast])


async def until(holds: Callable[[], bool]) -> None:
    """Wait, within a bound, until something is so."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 there is nothing to be told by
            await asyncio.sleep(0.005)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario to its end."""
    asyncio.run(scenario())  # type: ignore[arg-type]


@both
def test_a_message_arrives_as_it_was_sent(opened: Open, nats_url: str) -> None:
    """Subject, reply subject, headers and body are the sender's, also where they are empty or not ASCII."""

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            heard: list[Any] = []
            await transport.subscribe("a.*", heard.append)
            await transport.flush()
            await transport.publish("a.1", b"body")
            await transport.publish("a.2", b"", "back.1", {"Reason": "größer: \t:", "Empty": ""})
            await transport.publish("a.3", b"\r\nMSG a.3 1 5\r\n\x00\xff", "back.2")
            await until(lambda: len(heard) == 3)
            assert [(msg.subject, msg.reply, msg.data) for msg in heard] == [
                ("a.1", "", b"body"),
                ("a.2", "back.1", b""),
                ("a.3", "back.2", b"\r\nMSG a.3 1 5\r\n\x00\xff"),
            ]
            assert heard[0].headers is None
            assert heard[1].headers == {"Reason": "größer: \t:", "Empty": ""}

    run(scenario)


@both
def test_a_line_break_in_a_header_begins_no_other_header(opened: Open, nats_url: str) -> None:
    """What a user put into a value stays in it."""

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            heard: list[Any] = []
            await transport.subscribe("a", heard.append)
            await transport.publish("a", b"", headers={"Reason": "x\r\nNats-Msg-Id: 1", "Other": "y"})
            await until(lambda: len(heard) == 1)
            assert set(heard[0].headers) == {"Reason", "Other"}

    run(scenario)


@both
def test_messages_keep_their_order_whatever_their_size(opened: Open, nats_url: str) -> None:
    """Bodies from nothing to megabytes, in pieces on the wire, come whole and in order."""
    sizes = [0, 1, 100_000, 3, 5_000_000, 0, 70_000] * 2

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            heard: list[Any] = []
            await transport.subscribe("a", heard.append)
            for number, size in enumerate(sizes):
                await transport.publish("a", bytes([number]) * size)
            await until(lambda: len(heard) == len(sizes))
            assert [msg.data for msg in heard] == [bytes([number]) * size for number, size in enumerate(sizes)]

    run(scenario)


@both
def test_messages_keep_their_order_however_many_are_sent_in_a_turn(opened: Open, nats_url: str) -> None:
    """One in a turn of the event loop, or many, in any order of such turns.

    Seen to fail when the first message of a turn overtook those that wait.
    """
    turns = [1, 1, 2, 50, 1, 1, 3, 0, 1, 200, 2, 1, 1] * 5

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            heard: list[int] = []
            await transport.subscribe("a", lambda msg: heard.append(int(msg.data)))
            sent = 0
            for count in turns:
                for _ in range(count):
                    await transport.publish("a", b"%d" % sent)
                    sent += 1
                await asyncio.sleep(0)
            await until(lambda: len(heard) == sent)
            assert heard == list(range(sent))

    run(scenario)


@both
def test_what_is_over_the_servers_limit_is_refused_here(opened: Open, nats_url: str) -> None:
    """Headers count; the server would cut the connection, and it still works afterwards."""

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            limit = 8 * 1024 * 1024
            for body, headers in ((b"x" * (limit + 1), None), (b"x" * (limit - 10), {"Reason": "y" * 100})):
                with pytest.raises(TooLarge, match=str(limit)):
                    await transport.publish("a", body, headers=headers)
            await transport.flush()

    run(scenario)


@both
def test_a_queue_group_shares_and_unsubscribing_hears_all_that_came_before(opened: Open, nats_url: str) -> None:
    """Each message goes to one member; who leaves has been given everything the server sent before."""

    async def scenario() -> None:
        async with opened(nats_url) as one, opened(nats_url) as other:
            first: list[Any] = []
            second: list[Any] = []
            leave = await one.subscribe("a", first.append, "group")
            await other.subscribe("a", second.append, "group")
            while not (first and second):  # the server has both members
                await other.publish("a", b"early")
                await other.flush()
            for _ in range(200):
                await other.publish("a", b"shared")
            await other.flush()
            await leave()
            await until(lambda: [msg.data for msg in first + second].count(b"shared") == 200)
            before = len(first)
            for _ in range(20):
                await other.publish("a", b"late")
            await until(lambda: [msg.data for msg in second].count(b"late") == 20)
            assert len(first) == before

    run(scenario)


@both
def test_no_responders_are_told(opened: Open, nats_url: str) -> None:
    """A request to a subject that nobody hears is answered with status 503."""

    async def scenario() -> None:
        async with opened(nats_url) as transport:
            heard: list[Any] = []
            await transport.subscribe("_INBOX.x", heard.append)
            await transport.publish("nobody", b"", "_INBOX.x")
            await until(lambda: len(heard) == 1)
            assert heard[0].headers["Status"] == "503"

    run(scenario)


@both
def test_a_restarted_server_is_found_again(opened: Open, nats_server: NatsServer) -> None:
    """Subscriptions hold over a crash of the server, and what is sent meanwhile goes out afterwards."""

    async def scenario() -> None:
        async with opened(nats_server.url) as transport, opened(nats_server.url) as sender:
            heard: list[Any] = []
            await transport.subscribe("a", heard.append)
            await transport.flush()
            nats_server.kill()
            await until(lambda: not transport.is_connected and not sender.is_connected)
            await sender.publish("other", b"meanwhile")
            nats_server.start()
            await until(lambda: transport.is_connected and sender.is_connected)
            await transport.flush()
            await sender.publish("a", b"afterwards")
            await until(lambda: [msg.data for msg in heard] == [b"afterwards"])

    run(scenario)


@both
def test_what_is_sent_on_a_connection_is_sent_on_no_other(opened: Open, nats_server: NatsServer) -> None:
    """A transport that tells its connection sends over this one alone; one that does not tell sends nothing so."""

    async def scenario() -> None:
        async with opened(nats_server.url) as transport:
            heard: list[Any] = []
            await transport.subscribe("a", heard.append)
            first = transport.connection
            assert transport.send_on(first, "a", b"now", "me") == (first > 0)
            assert not transport.send_on(first + 1, "a", b"never")
            await transport.flush()
            assert [(msg.data, msg.reply) for msg in heard] == [(b"now", "me")] * (first > 0)
            nats_server.kill()
            await until(lambda: not transport.is_connected)
            assert not transport.send_on(first, "a", b"never")
            nats_server.start()
            await until(lambda: transport.is_connected)
            assert (transport.connection > first) == (first > 0)
            assert not transport.send_on(first, "a", b"never")
            await transport.flush()
            assert len(heard) == (first > 0)

    run(scenario)


@both
def test_an_appender_tells_each_outcome(opened: Open, nats_url: str) -> None:
    """Stored, stale, and no stream for the subject, over either transport."""

    async def scenario() -> None:
        async with opened(nats_url) as transport, plain_client(nats_url) as nc:
            await declare(nc)
            appender = await Appender(transport).start()
            guard = {"Nats-Expected-Last-Subject-Sequence": "0"}
            message = Message("tagstack.events.a.b.stream", b"{}", guard)
            assert await appender.append(message) == 1
            with pytest.raises(StaleState):
                await appender.append(message)
            with pytest.raises(Unavailable):
                await appender.append(Message("elsewhere", b"{}", {}))

    run(scenario)


def chain(numbers: range, guard: str) -> list[Message]:
    """Return messages each of which wants the one before it to be the log's last."""
    messages = [Message("tagstack.events.a.b.tag.c", b"{}", {"Nats-Msg-Id": str(number)}) for number in numbers]
    messages[0].headers["Nats-Expected-Last-Subject-Sequence"] = guard
    for before, message in pairwise(messages):
        message.headers["Nats-Expected-Last-Msg-Id"] = before.headers["Nats-Msg-Id"]
    return messages


@both
def test_a_chain_is_stored_whole_or_from_its_broken_link_on_not_at_all(opened: Open, nats_url: str) -> None:
    """A chain whose first link is stale stores nothing, and says so."""

    async def scenario() -> None:
        async with opened(nats_url) as transport, plain_client(nats_url) as nc:
            await declare(nc)
            appender = await Appender(transport).start()
            assert await appender.append_all(chain(range(10), "0")) == list(range(1, 11))
            with pytest.raises(StaleState):
                await appender.append_all(chain(range(10, 20), "3"))
            assert await appender.append_all(chain(range(20, 22), "10")) == [11, 12]

    run(scenario)


@asynccontextmanager
async def plain_client(url: str) -> AsyncIterator[Any]:
    """A nats-py connection."""
    nc = await connect(url, "test")
    try:
        yield nc
    finally:
        await nc.close()


def test_the_fast_path_proves_who_it_is_as_the_url_says(tmp_path: Any) -> None:
    """User and password of the URL are sent; without them, or for TLS, it says that it is unsuited."""
    users = 'authorization { users: [ { user: "a b", password: "p:w" } ] }'
    server = NatsServer(tmp_path, ServerOptions(extra=users)).start()

    async def scenario() -> None:
        address = server.url.removeprefix("nats://")
        wire = await WireTransport(f"nats://a%20b:p%3Aw@{address}", "test").connect()
        await wire.flush()
        await wire.close()
        for url in (server.url, f"tls://{address}", f"{server.url},{server.url}"):
            with pytest.raises(Unsuited):
                await WireTransport(url, "test").connect()
        with pytest.raises(Unavailable, match="Authorization"):
            await WireTransport(f"nats://a:wrong@{address}", "test").connect()

    try:
        run(scenario)
    finally:
        server.stop()


def test_a_closed_port_is_unavailable() -> None:
    """Nobody there is told as such."""

    async def scenario() -> None:
        with pytest.raises(Unavailable):
            await WireTransport("nats://127.0.0.1:1", "test").connect()

    run(scenario)


class Heard:
    """An owner of a parser that notes what it is told."""

    def __init__(self) -> None:
        self.told_: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.told_.append((name, *args))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_parser_reads_the_same_however_the_bytes_are_cut(size: int) -> None:
    """Commands and messages come whole from pieces of any size."""
    head = header_block({"A": "b"})
    body = b"x\r\ny"
    stream = (
        b'INFO {"max_payload":1}\r\nPING\r\nMSG a.b 1 4\r\nx\r\ny\r\n'
        b"MSG c 12 back 0\r\n\r\nPONG\r\n-ERR 'Slow Consumer'\r\n"
        b"HMSG d 3 %d %d\r\n%b%b\r\n+OK\r\n" % (len(head), len(head) + 4, head, body)
    )
    owner = Heard()
    parser = Parser(owner)  # type: ignore[arg-type]
    for at in range(0, len(stream), size):
        parser.data_received(stream[at : at + size])
    found = [
        (name, *args) if name != "delivered" else (args[0], args[1].data, args[1].reply) for name, *args in owner.told_
    ]
    assert found == [
        ("told", b'{"max_payload":1}'),
        ("pinged",),
        (b"1", body, ""),
        (b"12", b"", "back"),
        ("ponged",),
        ("complained", "'Slow Consumer'"),
        (b"3", body, ""),
    ]


def test_a_status_line_is_read_with_its_headers() -> None:
    """Status and description of JetStream's control messages stand under their names."""
    assert read_headers(b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n") == {
        "Status": "408",
        "Description": "Request Timeout",
        "Nats-Pending-Messages": "1",
    }
