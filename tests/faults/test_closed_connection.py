"""What if the connection is closed: for good, or because the server restarts?"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from nats.errors import Error as NatsError

from tagstack.adapters import nats_wire
from tagstack.adapters.nats_server import NatsServer
from tests.examples_nats import WAIT_S, ask, client_of, mapping, run, until, worker_process
from tests.faults.proxy import CHUNK_BYTES, Proxy, proxy_before

FATAL = b"-ERR 'Maximum Payload Violation'\r\n"  # the client library gives up upon it


class FatalStart(Proxy):
    """Says something fatal to a client that has the first of the queue's consumers and will ask for the next."""

    async def _downward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data + FATAL if b'"name":"tagstack-commands-0"' in data else data)
            await writer.drain()


def test_a_worker_ends_when_its_connection_is_closed_for_good(nats_url: str, tmp_path: Path) -> None:
    """After an error upon which the client library gives up, the worker does not hang about: it exits with 3.

    Seen to fail when `shell._end_with_connection` does not look whether the connection is closed.
    """

    async def scenario() -> None:
        async with proxy_before(nats_url) as proxy, client_of(nats_url) as client:
            with worker_process(proxy.url, tmp_path) as process:

                async def ready() -> bool:
                    with suppress(NatsError):
                        return (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
                    return False

                await until(ready)
                await proxy.inject(FATAL)
                assert await asyncio.to_thread(process.wait, WAIT_S) == 3

    run(scenario)


def test_a_worker_ends_when_its_connection_is_closed_in_the_middle_of_its_start(nats_url: str, tmp_path: Path) -> None:
    """A start that a closed connection interrupts ends the process too, instead of leaving half a worker behind.

    Seen to fail when the interrupted start told the thread that watches the connection to stop.
    """

    async def scenario() -> None:
        async with proxy_before(nats_url, FatalStart) as proxy:
            with worker_process(proxy.url, tmp_path) as process:
                assert await asyncio.to_thread(process.wait, WAIT_S) == 3

    run(scenario)


def test_the_fast_path_is_back_as_soon_as_the_server_is(nats_server: NatsServer, monkeypatch: Any) -> None:
    """Attempts that were refused in between do not stand in the way of the one that succeeds.

    Seen to fail when `WireTransport._dial` still waits for the PING of a refused attempt.
    """
    monkeypatch.setattr(nats_wire, "CONNECT_TIMEOUT_S", 10 * WAIT_S)

    async def scenario() -> None:
        wire = await nats_wire.WireTransport(nats_server.url, "test").connect()
        try:
            for _ in range(3):
                await asyncio.to_thread(nats_server.kill)
                await asyncio.sleep(2 * nats_wire.RECONNECT_WAIT_S)  # so that some attempts are refused
                await asyncio.to_thread(nats_server.start)
                await until(lambda: connected(wire))
        finally:
            await wire.close()

    run(scenario)


async def connected(wire: nats_wire.WireTransport) -> bool:
    """Return whether the connection is there."""
    return wire.is_connected
