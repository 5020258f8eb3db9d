"""Appends to the log with an ack inbox of our own, many in flight at once.

nats-py's `publish_async` never resolves on an error ack and costs three times as much per message.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Coroutine, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from tagstack.adapters.nats_transport import Arrived, Transport
from tagstack.adapters.vigil import Vigil
from tagstack.domain.errors import StaleState, TooLarge, Unavailable, UnknownOutcome

ACK_TIMEOUT_S = 5.0
BATCH_ATTEMPTS_MAX = 100
BATCH_WAIT_S = 0.05
BATCHES_IN_FLIGHT_MAX = 2  # the log is locked while it takes one: others wait behind all of these

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
EXPECTED_MESSAGE_ID = "Nats-Expected-Last-Msg-Id"
MESSAGE_ID = "Nats-Msg-Id"

_WRONG_LAST_SEQUENCE = {10070, 10071, 10164}  # 10164: another append to the same subject is in process
_DUPLICATE_IN_BATCH = 10201
_TOO_MANY_BATCHES = 10210
_TOO_LARGE = {10054, 10097}  # the message, its headers
_LAST_SEQUENCE = re.compile(r": (\d+)$")


class _TooManyBatches(Exception):
    """The server has as many unfinished batches as it takes; nothing was stored."""


class RepeatedInBatch(UnknownOutcome):
    """A message id of a batch is stored already, or stands in it twice; nothing of this batch is stored."""


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

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._inbox = transport.new_inbox()
        self._count = 0
        self._waiting: dict[str, tuple[float, asyncio.Future[int]]] = {}  # since when, in this order
        self._vigil = Vigil(self._waiting)
        self._watch: asyncio.TimerHandle | None = None
        self._batches = asyncio.Semaphore(BATCHES_IN_FLIGHT_MAX)

    async def start(self) -> Appender:
        """Subscribe to the ack inbox."""
        await self._transport.subscribe(f"{self._inbox}.*", self._acked)
        return self

    def append(self, message: Message) -> Coroutine[Any, Any, int]:
        """Store one message and return its position.

        Raises: StaleState, UnknownOutcome (no ack, or one that says `duplicate`), TooLarge, Unavailable.
        """
        return self._publish(message)

    async def append_all(self, messages: Sequence[Message]) -> list[int]:
        """Send messages in one go, each to be stored or refused by itself, and return their positions.

        Raises: StaleState where none is stored, UnknownOutcome where some may be, else as `append`.
        """
        waiting = {self._token(): message for message in messages}
        acked = [self._expect(token) for token in waiting]
        try:
            for token, message in waiting.items():
                reply = f"{self._inbox}.{token}"
                await self._transport.publish(message.subject, message.body, reply, message.headers)
            found = await asyncio.gather(*acked, return_exceptions=True)
        finally:
            for token in waiting:
                del self._waiting[token]
        return _all_stored(found)

    async def append_chain(self, messages: Sequence[Message]) -> list[int]:
        """Store messages, each only if the one before it is the last one of the log. Raises as `append_all`."""
        for before, message in pairwise(messages):
            message.headers[EXPECTED_MESSAGE_ID] = before.headers[MESSAGE_ID]
        return await self.append_all(messages)

    def append_batch(self, messages: Sequence[Message]) -> Coroutine[Any, Any, int]:
        """Store messages, all or none, and return the last one's position; one goes by itself. Raises as `append`."""
        return self._publish(messages[0]) if len(messages) == 1 else self._batched(messages)

    async def _batched(self, messages: Sequence[Message]) -> int:
        for _ in range(BATCH_ATTEMPTS_MAX):
            batch = _batch(messages, uuid.uuid4().hex)
            try:
                async with self._batches:
                    return await self._publish_batch(batch)
            except _TooManyBatches:
                await asyncio.sleep(BATCH_WAIT_S)
        raise Unavailable(f"the log had no room for one more batch in {BATCH_ATTEMPTS_MAX} attempts")

    async def _publish(self, message: Message) -> int:
        token = self._token()
        acked = self._expect(token)
        try:
            await self._transport.publish(message.subject, message.body, f"{self._inbox}.{token}", message.headers)
            del message  # hundreds wait for their acks: what is sent is not kept meanwhile
            return await acked
        finally:
            del self._waiting[token]

    async def _publish_batch(self, batch: Sequence[Message]) -> int:
        token = self._token()
        acked = self._expect(token)
        try:
            for number, message in enumerate(batch, 1):
                # the server answers to the first message of a batch only where it refuses the batch
                reply = f"{self._inbox}.{token}" if number in (1, len(batch)) else ""
                await self._transport.publish(message.subject, message.body, reply, message.headers)
            del batch, message
            return await acked
        finally:
            del self._waiting[token]

    def _token(self) -> str:
        self._count += 1
        return str(self._count)

    def _expect(self, token: str) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        acked: asyncio.Future[int] = loop.create_future()
        self._waiting[token] = (self._vigil.begin(), acked)
        if self._watch is None:
            self._watch = loop.call_later(ACK_TIMEOUT_S, self._give_up)
        return acked

    def _give_up(self) -> None:
        """End the wait for overdue acks; one timer for all of them, since one each would cost more than an ack."""
        self._watch = None
        overdue = time.monotonic() - ACK_TIMEOUT_S
        for since, acked in self._waiting.values():
            if since > overdue:
                self._watch = asyncio.get_running_loop().call_later(since - overdue, self._give_up)
                break
            if not acked.done():
                acked.set_exception(UnknownOutcome(f"no ack within {ACK_TIMEOUT_S} s"))

    def _acked(self, msg: Arrived) -> None:
        since, acked = self._waiting.get(msg.subject.rpartition(".")[2], (0.0, None))
        if acked is None or acked.done():
            return
        if not msg.data:
            if msg.headers and msg.headers.get("Status") == "503":
                acked.set_exception(Unavailable("the log does not answer: no stream takes its subject"))
            return  # else the first message of a batch was taken
        self._vigil.answered(since)
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


def _all_stored(found: Sequence[int | BaseException]) -> list[int]:
    positions = [each for each in found if isinstance(each, int)]
    failed = [each for each in found if isinstance(each, BaseException)]
    if positions and failed:
        raise UnknownOutcome("only some of several appends are stored") from failed[0]
    if failed:
        raise next((each for each in failed if not isinstance(each, StaleState)), failed[0])
    return positions


def _refusal(error: _Error) -> Exception:
    if error.err_code == _TOO_MANY_BATCHES:
        return _TooManyBatches(error.description)
    if error.err_code in _WRONG_LAST_SEQUENCE:
        found = _LAST_SEQUENCE.search(error.description)
        return StaleState(int(found[1]) if found else None)
    if error.err_code == _DUPLICATE_IN_BATCH:
        return RepeatedInBatch(error.description)
    if error.err_code in _TOO_LARGE:
        return TooLarge(error.description)
    return Unavailable(f"the log refuses the event: {error.description}")
