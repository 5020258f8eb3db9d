"""Reads the log one batch ahead of the fold: while one is folded, the next is read and decoded in another thread.

It does so only while the log has more: near its end a batch is what came meanwhile. The first batch is
handed out in two pieces, so that the fold begins soon.
"""

from __future__ import annotations

import asyncio
from itertools import chain, repeat
from math import ceil

import msgspec

from tagstack.application.read_models import Decoded, LogMessage, Reader, ReadModels

PART = 10_240  # messages that are decoded at once; decoded they take less memory
FIRST_PIECE = 4  # the part of a batch that the first piece is, a quarter


class BatchBounds(msgspec.Struct, frozen=True):
    """How much is folded at once. A batch is filled up only while the log has more than `behind` events after it."""

    events: int
    bytes: int
    behind: int


class Lookahead:
    """Hands out the messages of a reader, decoded, in batches within bounds."""

    def __init__(self, reader: Reader, models: ReadModels, bounds: BatchBounds) -> None:
        self._reader, self._models, self._bounds = reader, models, bounds
        begin = bounds.events // FIRST_PIECE or 1
        self._sizes = chain([begin, bounds.events - begin or 1], repeat(bounds.events))
        self._left: list[LogMessage] = []  # what the reader gave and the batch before had no room for
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
        batch: Decoded | None = None
        size = next(self._sizes)
        while messages := await self._part(wait_s, size - (len(batch.messages) if batch else 0)):
            part = await asyncio.to_thread(self._models.decode, messages)
            batch = self._models.join(batch, part) if batch else part
            room = len(batch.messages) < size and batch.size < self._bounds.bytes
            if not room or not self._behind(messages[-1]):
                break
        return batch

    async def _part(self, wait_s: float, events: int) -> list[LogMessage]:
        """Return the next messages, so many or as many as are decoded at once, fewer near the log's end."""
        wanted = ceil(events / ceil(events / PART))  # no small rest, which is decoded otherwise
        messages, self._left = self._left or await self._reader.take(wait_s), []
        while messages and len(messages) < wanted and self._behind(messages[-1]):
            more = await self._reader.take(wait_s)
            if not more:
                break
            messages += more
        self._left = messages[wanted:]
        return messages[:wanted]

    def _behind(self, message: LogMessage) -> bool:
        return self._reader.log_position - message.position > self._bounds.behind
