"""Reads the log one batch ahead of the fold: while one is folded, the next is read and decoded in another thread.

It does so only while the log has more than a batch: near its end a batch is what came meanwhile.
"""

from __future__ import annotations

import asyncio

from tagstack.application.read_models import Decoded, LogMessage, Reader, ReadModels

BYTES_MAX = 32 << 20  # of messages that are read ahead; as many are folded meanwhile, and are in the reader


class Lookahead:
    """Hands out the messages of a reader, decoded, in batches of about `events` at the most."""

    def __init__(self, reader: Reader, models: ReadModels, events: int) -> None:
        self._reader, self._models, self._events = reader, models, events
        self._next: asyncio.Task[Decoded | None] | None = None

    async def take(self, wait_s: float) -> Decoded | None:
        """Return the next batch; None where no message came in time. Raises ReaderLost."""
        ahead, self._next = self._next, None
        decoded = await (ahead or self._read(wait_s))
        if decoded is not None and self._behind(decoded.messages[-1]):
            self._next = asyncio.create_task(self._read(wait_s))
        return decoded

    async def stop(self) -> None:
        """Read no more; what was read ahead is forgotten."""
        if self._next is not None:
            await asyncio.wait([self._next])
            self._next.exception()  # whoever stops does not ask for it
        await self._reader.stop()

    async def _read(self, wait_s: float) -> Decoded | None:
        messages = await self._reader.take(wait_s)
        size = sum(len(message.body) for message in messages)
        while messages and len(messages) < self._events and size < BYTES_MAX and self._behind(messages[-1]):
            more = await self._reader.take(wait_s)
            if not more:
                break
            messages += more
            size += sum(len(message.body) for message in more)
        return await asyncio.to_thread(self._models.decode, messages) if messages else None

    def _behind(self, message: LogMessage) -> bool:
        return self._reader.log_position - message.position > self._events
