"""Appends to the log with an ack inbox of our own, many in flight at once.

nats-py's `publish_async` never resolves on an error ack and costs three times as much per message.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tagstack.domain.errors import StaleState, TooLarge, Unavailable, UnknownOutcome

ACK_TIMEOUT_S = 5.0
HEADERS_BYTES_MAX = 65_535  # JetStream's own limit
BATCH_ATTEMPTS_MAX = 100
BATCH_WAIT_S = 0.05
BATCHES_IN_FLIGHT_MAX = 16  # the server takes 50 per stream, from all workers together

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"

_WRONG_LAST_SEQUENCE = {10071, 10164}  # 10164: another append to the same subject is in process
_DUPLICATE_IN_BATCH = 10201
_TOO_MANY_BATCHES = 10210
_TOO_LARGE = {10054, 10097}  # the message, its headers
_LAST_SEQUENCE = re.compile(r": (\d+)$")


class _TooManyBatches(Exception):
    """The server has as many unfinished batches as it takes; nothing was stored."""


class Message(msgspec.Struct, frozen=True):
    """One message to be stored."""

    subject: str
    body: bytes
    headers: dict[str, str]


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Ack)


class Appender:
    """Publishes messages and waits for JetStream's acks on one inbox."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._inbox = nc.new_inbox()
        self._count = 0
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._batches = asyncio.Semaphore(BATCHES_IN_FLIGHT_MAX)

    async def start(self) -> Appender:
        """Subscribe to the ack inbox."""
        await self._nc.subscribe(f"{self._inbox}.*", cb=self._acked, pending_msgs_limit=-1, pending_bytes_limit=-1)
        return self

    async def append(self, message: Message) -> int:
        """Store one message and return its position.

        Raises: StaleState, UnknownOutcome (no ack, or one that says `duplicate`), TooLarge, Unavailable.
        """
        return await self._acked_publish([message])

    async def append_batch(self, messages: Sequence[Message], batch_id: str) -> int:
        """Store messages, all or none, and return the last one's position. Raises as `append`."""
        for attempt in range(BATCH_ATTEMPTS_MAX):
            batch = _batch(messages, f"{batch_id}-{attempt}")
            try:
                async with self._batches:
                    return await self._acked_publish(batch)
            except _TooManyBatches:
                await asyncio.sleep(BATCH_WAIT_S)
        raise Unavailable(f"the log had no room for one more batch in {BATCH_ATTEMPTS_MAX} attempts")

    async def _acked_publish(self, messages: Sequence[Message]) -> int:
        self._count += 1
        token = str(self._count)
        acked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[token] = acked
        try:
            for number, message in enumerate(messages, 1):
                # the server answers to the first message of a batch only where it refuses the batch
                reply = f"{self._inbox}.{token}" if number in (1, len(messages)) else ""
                await self._publish(message, reply)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                return await acked
        except TimeoutError:
            raise UnknownOutcome(f"no ack within {ACK_TIMEOUT_S} s") from None
        finally:
            self._waiting.pop(token, None)
            acked.cancel()

    async def _publish(self, message: Message, reply: str) -> None:
        _check_size(message, self._nc.max_payload)
        try:
            await self._nc.publish(message.subject, message.body, reply=reply, headers=message.headers)
        except NatsError as error:
            raise Unavailable(f"the log can't be reached: {error or type(error).__name__}") from error

    async def _acked(self, msg: Msg) -> None:
        acked = self._waiting.get(msg.subject.rsplit(".", 1)[1])
        if acked is None or acked.done():
            return
        if msg.headers and msg.headers.get("Status") == "503":
            acked.set_exception(Unavailable("the log does not answer: no stream takes its subject"))
            return
        if not msg.data:
            return  # the first message of a batch was taken
        ack = _decoder.decode(msg.data)
        if ack.error is not None:
            acked.set_exception(_refusal(ack.error))
        elif ack.duplicate:
            acked.set_exception(UnknownOutcome(f"the log says duplicate of position {ack.seq}"))
        else:
            acked.set_result(ack.seq)


def _batch(messages: Sequence[Message], batch_id: str) -> list[Message]:
    batch: list[Message] = []
    for number, message in enumerate(messages, 1):
        headers = message.headers | {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
        if number == len(messages):
            headers["Nats-Batch-Commit"] = "1"
        batch.append(Message(message.subject, message.body, headers))
    return batch


def _refusal(error: _Error) -> Exception:
    if error.err_code == _TOO_MANY_BATCHES:
        return _TooManyBatches(error.description)
    if error.err_code in _WRONG_LAST_SEQUENCE:
        found = _LAST_SEQUENCE.search(error.description)
        return StaleState(int(found[1]) if found else None)
    if error.err_code == _DUPLICATE_IN_BATCH:
        return UnknownOutcome(error.description)
    if error.err_code in _TOO_LARGE:
        return TooLarge(error.description)
    return Unavailable(f"the log refuses the event: {error.description}")


def _check_size(message: Message, limit: int) -> None:
    """Raise TooLarge where body and headers together are over the server's limit.

    nats-py counts the body only, and the server cuts the connection of whoever sends more.
    """
    size = len(message.body)
    if size + HEADERS_BYTES_MAX > limit:
        size += sum(len(name) + len(value.encode()) + 4 for name, value in message.headers.items()) + 12
    if size > limit:
        raise TooLarge(f"the event has {size} bytes, the server takes messages up to {limit}")
