"""A TCP proxy before a server: it can lose the answer to what was sent, or hold everything, as broken networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

LOST_S = 0.2  # from the lost answer to the end of the connection
CHUNK_BYTES = 65_536


class Proxy:
    """Forwards bytes. After `lose_answer_to` it forwards what matches, loses every answer, then cuts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 0)
        self._marker = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._flows = asyncio.Event()
        self._flows.set()
        self._clients: list[asyncio.StreamWriter] = []
        self.lost = 0
        self.url = ""

    def lose_answer_to(self, marker: bytes) -> None:
        """Lose the answers to the next data that contains `marker`, once."""
        self._marker = marker

    def hold(self) -> None:
        """Forward nothing, not even the end of a connection: as if every packet were lost."""
        self._flows.clear()

    def release(self) -> None:
        """Forward again, and what was held first."""
        self._flows.set()

    async def inject(self, data: bytes) -> None:
        """Say something to every client as if the server had said it."""
        for writer in self._clients:
            writer.write(data)
            await writer.drain()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client through."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.append(writer)
        with contextlib.suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection(self._host, self._port)
            cut = asyncio.Event()
            pumps = [
                asyncio.create_task(self._upward(reader, to_writer, cut)),
                asyncio.create_task(self._downward(to_reader, writer, cut)),
                asyncio.create_task(self._stopping.wait()),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await closed(to_writer)
        await closed(writer)
        self._tasks.discard(task)

    async def _upward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._marker and self._marker in data:
                self._marker = b""
                self.lost += 1
                cut.set()
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
            if cut.is_set():
                await asyncio.sleep(LOST_S)
                return
        await self._flows.wait()

    async def _downward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._flows.wait()
            if not cut.is_set():
                writer.write(data)
                await writer.drain()
        await self._flows.wait()

    async def stop(self) -> None:
        """Cut every connection."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close one side of a connection."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


P = TypeVar("P", bound=Proxy)


@asynccontextmanager
async def proxy_before(url: str, kind: type[P] = Proxy) -> AsyncIterator[P]:  # type: ignore[assignment]
    """A proxy of some kind before a server, on a port of its own."""
    proxy = kind(url)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.url = f"nats://{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
