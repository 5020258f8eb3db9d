"""Reads the log as it is, message by message, whatever is in it: for backups and for verification.

What is read ends at a position that the caller names; the service goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from nats.aio.client import Client

from tagstack.adapters.nats_direct import DirectGet, StoredMessage
from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, jetstream, stream_info
from tagstack.application.records import Record, whole_batches
from tagstack.domain.errors import Unavailable

PAGE_MESSAGES_MAX = 1_000
PAGE_BYTES_MAX = 8 * 1024 * 1024
BEHIND_ATTEMPTS_MAX = 20  # a replica that lags answers with nothing
BEHIND_WAIT_S = 0.25
LOG_ID = "tagstack.dev/log"  # metadata: the identity that a restored log has from the one it was copied from

_OF_THE_ANSWER = frozenset(
    {
        *("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"),
        *("Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence"),
    }
)


class LogState(msgspec.Struct, frozen=True):
    """Which log it is, and up to where it goes. `messages` is lower than `last` where positions are missing."""

    identity: str
    last: int
    messages: int


class MessageSource:
    """Reads the messages of one stream, the log where nothing else is said."""

    def __init__(self, nc: Client, stream: str = EVENTS_STREAM) -> None:
        self._nc = nc
        self._stream = stream
        self._direct = DirectGet(nc, stream)

    async def start(self) -> MessageSource:
        """Subscribe to the inbox of the answers."""
        await self._direct.start()
        return self

    async def state(self) -> LogState:
        """Return how the log stands now. Raises Unavailable where there is none."""
        info = await stream_info(self._nc, self._stream)
        identity = info["config"].get("metadata", {}).get(LOG_ID) or info["created"]
        return LogState(identity, int(info["state"]["last_seq"]), int(info["state"]["messages"]))

    async def at(self, position: int) -> Record | None:
        """Return the message at a position; None where there is none."""
        message = await self._direct.at(position)
        return None if message is None else _record(message)

    async def last(self, subject: str) -> Record | None:
        """Return the last message under a subject; None where there is none."""
        message = await self._direct.last(subject)
        return None if message is None else _record(message)

    async def pages(self, after: int, last: int) -> AsyncIterator[list[Record]]:
        """Return the messages behind position `after`, up to `last`, a bounded page at a time.

        Fewer where the log lost its last messages. Raises: Unavailable where it stops answering.
        """
        behind = 0
        while after < last:
            page = await self._direct.page(after + 1, PAGE_MESSAGES_MAX, PAGE_BYTES_MAX)
            if not page:
                if await self._nothing_behind(after):
                    return
                behind += 1
                if behind > BEHIND_ATTEMPTS_MAX:
                    raise Unavailable(f"stream {self._stream} has no message behind {after}, though it ends at {last}")
                await asyncio.sleep(BEHIND_WAIT_S)
                continue
            behind = 0
            after = page[-1].position
            yield [_record(message) for message in page if message.position <= last]

    async def _nothing_behind(self, position: int) -> bool:
        """Ask the leader: a replica that lags, and a log that lost its last messages, look alike from here."""
        answer = await jetstream(self._nc, f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": ">"})
        return int(answer.get("message", {}).get("seq", 0)) <= position

    async def batches(self, after: int, last: int) -> AsyncIterator[list[Record]]:
        """Return the same, without the messages at the end whose batch is not stored to its end yet."""
        open_batch: list[Record] = []
        async for page in self.pages(after, last):
            if whole := whole_batches(page, open_batch):
                yield whole


def tags_source(nc: Client) -> MessageSource:
    """Return the reader of the stream that keeps the last event of each tag."""
    return MessageSource(nc, TAGS_STREAM)


def _record(message: StoredMessage) -> Record:
    own = {str(name): value for name, value in message.headers.items() if name not in _OF_THE_ANSWER}
    stored = message.headers.get("Nats-Time-Stamp", "")
    return Record(message.position, stored, message.subject, own, message.body)
