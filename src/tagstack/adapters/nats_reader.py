"""The log read in order, all of it from a position or the last event of each subject: a continuous pull, bounded.

The consumer lives in the server's memory and holds nothing worth keeping: whoever loses it opens a new
reader at its own checkpoint. A reader that may have missed something ends; it never skips or repeats.
Messages come over a `Transport`; all that is rare is asked over nats-py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tagstack.adapters.nats_streams import EVENTS_STREAM, REQUEST_TIMEOUT_S, jetstream, stream_info
from tagstack.adapters.nats_transport import Arrived, PlainTransport, Transport, Unsubscribe
from tagstack.adapters.nats_wire_parser import Delivered, find_header
from tagstack.application.read_models import LogIdentity, LogMessage, ReaderLost
from tagstack.domain.errors import Unavailable

HEARTBEAT_S = 1.0
HEARTBEATS_MISSED_MAX = 3
PULL_EXPIRES_S = 30.0
LAST_WAIT_S = 1.0  # for the next of the last messages, before it is looked whether the server is silent for good
INACTIVE_S = 60
STOP_TIMEOUT_S = 2.0
IDENTITY = "ce-id"
_STATUS_IDLE, _STATUS_EXPIRED = "100", "408"
_ANSWERED = ("Batch Completed", "Message Size Exceeds MaxBytes")  # a request is over, the consumer goes on


class ReaderLimits(msgspec.Struct, frozen=True):
    """The bounds of what is asked for at once, kept in memory, and handed out as one batch."""

    messages: int = 20_000
    bytes: int = 32 << 20


# what comes at once is taken in at once, and acks and commands wait meanwhile: a millisecond for these
LAST_LIMITS = ReaderLimits(messages=100, bytes=1 << 20)


class LogSource:
    """The port `Source` on the JetStream stream of all events; its messages come over `transport`."""

    def __init__(self, nc: Client, limits: ReaderLimits | None = None, transport: Transport | None = None) -> None:
        self._nc = nc
        self._transport = transport or PlainTransport(nc)
        self._limits = limits or ReaderLimits()
        self._reconnects = 0

    async def identity(self, position: int) -> LogIdentity:
        """Return which log it is, with the identity of the event at `position`.

        It holds for readers made later, which end if the connection was lost since.
        """
        self._reconnects = self._nc.stats["reconnects"]
        info = await stream_info(self._nc, EVENTS_STREAM)
        return LogIdentity(info["created"], int(info["state"]["last_seq"]), await self._event_id(position))

    async def read(self, after: int) -> NatsReader:
        """Return a reader of everything after a position."""
        reader = NatsReader(self._nc, self._transport, after, self._limits, self._reconnects)
        await reader.start({"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1})
        return reader

    async def read_last(self, subjects: str) -> AsyncGenerator[list[LogMessage], None]:
        """Yield the last message of each subject under a filter, some at a time, all of them or ReaderLost."""
        reader = NatsReader(self._nc, self._transport, 0, LAST_LIMITS, self._nc.stats["reconnects"])
        await reader.start({"deliver_policy": "last_per_subject", "filter_subject": subjects})
        try:
            while not reader.exhausted:
                yield await reader.take(LAST_WAIT_S)
        finally:
            await reader.stop()

    async def _event_id(self, position: int) -> str | None:
        if position == 0:
            return None
        try:
            found = await self._nc.jetstream(timeout=REQUEST_TIMEOUT_S).get_msg(EVENTS_STREAM, seq=position)
        except NotFoundError:
            return None
        except NatsError as error:
            raise Unavailable(f"the event at position {position} can't be read: {error!r}") from error
        return str((found.headers or {}).get(IDENTITY, ""))


class NatsReader:
    """Reads from one consumer until it ends."""

    def __init__(self, nc: Client, transport: Transport, after: int, limits: ReaderLimits, reconnects: int) -> None:
        self._nc = nc
        self._transport = transport
        self._limits = limits
        self._received = after  # position of the newest message
        self.log_position = after
        self._delivered = 0  # messages of this consumer so far; a gap means a lost one
        self._buffer: list[LogMessage] = []
        self._buffered_bytes = 0
        self._asked = 0  # messages that are still to come for what was asked
        self._arrived = asyncio.Event()
        self._lost = ""
        self._consumer = ""
        self._unsubscribe: Unsubscribe | None = None
        self._heard_at = 0.0
        self._reconnects = reconnects

    @property
    def exhausted(self) -> bool:
        """Return whether everything was taken that the log had when the newest message was sent."""
        return not self._buffer and self._received == self.log_position

    async def start(self, wanted: dict[str, Any]) -> None:
        """Make a consumer of what is wanted and ask for the first messages. Raises Unavailable."""
        self._inbox = self._transport.new_inbox()
        config = wanted | {
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * 10**9,
        }
        made = await jetstream(
            self._nc, f"CONSUMER.CREATE.{EVENTS_STREAM}", {"stream_name": EVENTS_STREAM, "config": config}
        )
        if "error" in made:
            raise Unavailable(f"the log can't be read: {made['error']['description']}")
        self._consumer = made["name"]
        if self._nc.stats["reconnects"] != self._reconnects:
            # the consumer may be one of another log than the one whose identity was looked at
            raise ReaderLost("the connection was lost meanwhile")
        self.log_position = max(self.log_position, self._received + int(made["num_pending"]))
        self._unsubscribe = await self._transport.subscribe(self._inbox, self._got)
        self._heard_at = time.monotonic()
        await self._ask()

    async def take(self, wait_s: float) -> list[LogMessage]:
        """Return the next messages; none where none came in time. Raises ReaderLost."""
        if not self._buffer:
            try:
                async with asyncio.timeout(wait_s):
                    await self._until_arrived()
            except TimeoutError:
                self._check_alive()
        if self._lost and not self._buffer:
            raise ReaderLost(self._lost)
        taken, self._buffer = self._buffer[: self._limits.messages], self._buffer[self._limits.messages :]
        self._buffered_bytes = sum(len(message.body) for message in self._buffer)
        if not self._lost:
            await self._ask()
        return taken

    async def stop(self) -> None:
        """Read no more and let the server forget the consumer."""
        self._lost = self._lost or "stopped"
        if self._unsubscribe is None:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._unsubscribe()
            await self._nc.publish(f"$JS.API.CONSUMER.DELETE.{EVENTS_STREAM}.{self._consumer}")
        except (NatsError, Unavailable, TimeoutError):
            pass  # the connection is gone, and the server forgets an inactive consumer by itself

    async def _until_arrived(self) -> None:
        """Wait for messages, or the end of the reader, through the ends of requests, which have none."""
        while not (self._buffer or self._lost):
            self._arrived.clear()
            await self._ask()
            await self._arrived.wait()

    async def _ask(self) -> None:
        """Ask for as much as may be on its way and in the buffer together."""
        room = self._limits.messages - len(self._buffer) - self._asked
        if room < max(self._limits.messages // 2, 1) or self._buffered_bytes > self._limits.bytes // 2:
            return
        request = {
            "batch": room,
            "max_bytes": max(self._limits.bytes, 2 * self._nc.max_payload),
            "expires": int(PULL_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        self._asked += room
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.{self._consumer}"
        try:
            await self._transport.publish(subject, json.dumps(request).encode(), self._inbox)
        except Unavailable as error:
            self._end(f"the log can't be reached: {error}")

    def _got(self, msg: Arrived) -> None:
        self._heard_at = time.monotonic()
        reply = msg.reply
        if not reply.startswith("$JS.ACK."):
            self._heed(msg.headers or {})
            return
        if self._lost:
            return
        position, number, pending = numbers_of(reply)
        if number != self._delivered + 1 or position <= self._received:
            self._end(f"message {number} at position {position} came after {self._delivered} at {self._received}")
            return
        self._delivered += 1
        self._asked -= 1
        self._received = position
        self.log_position = position + pending
        body = msg.data
        if not self._buffer:
            self._arrived.set()
        self._buffer.append(LogMessage(position, msg.subject, body, header_of(msg, IDENTITY)))
        self._buffered_bytes += len(body)

    def _heed(self, headers: Mapping[str, str]) -> None:
        """Take notice of what the server says about a request."""
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == _STATUS_IDLE:
            return
        if status == _STATUS_EXPIRED or description in _ANSWERED:
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
            self._arrived.set()  # so that more is asked for
            return
        self._end(f"the server ends the read: {status} {description}")

    def _check_alive(self) -> None:
        silent_s = time.monotonic() - self._heard_at
        if self._nc.stats["reconnects"] != self._reconnects:
            self._end("the connection was lost meanwhile")
        elif self._asked > 0 and silent_s > HEARTBEATS_MISSED_MAX * HEARTBEAT_S:
            self._end(f"the server has been silent for {silent_s:.1f} s")

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        self._arrived.set()


def numbers_of(reply: str) -> tuple[int, int, int]:
    """Return a delivered message's position, its number within the consumer, and how many more are pending."""
    tokens = reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<deliveries>.<position>.<number>.<time>.<pending>, or the form with a domain
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])


def header_of(msg: Arrived, name: str) -> str:
    """Return one header of a message, "" where there is none."""
    if isinstance(msg, Delivered):  # reading one header costs a tenth of reading all of them
        return find_header(msg.head, name)
    return (msg.headers or {}).get(name, "")
