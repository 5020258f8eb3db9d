"""Commands from the work queue, carried out in order per image stream; refused ones become dead letters.

The server sorts image streams into partitions. Each partition has one durable consumer with one
message in flight, so the order holds whatever number of workers there is, and whichever dies. What
is not acknowledged is delivered again; the command id makes that harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC
from typing import Any

import msgspec
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.message import NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from tagstack.adapters.nats_append import MESSAGE_ID, Appender, Message
from tagstack.adapters.nats_intake import COMMAND_ID, SENT, Handle, read_request
from tagstack.adapters.nats_streams import QUEUE_PARTITIONS, QUEUE_STREAM
from tagstack.adapters.nats_subjects import DEAD, QUEUE
from tagstack.adapters.nats_trace import continue_trace
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.replies import failure
from tagstack.domain.errors import Refused, TagstackError, TooLarge, TooManyRequests, Unavailable, UnknownOutcome
from tagstack.domain.times import text_of

ACK_WAIT_S = 10.0
HEARTBEAT_S = 3.0
RETRY_WAIT_S = 0.5
FETCH_TIMEOUT_S = 5.0
DELIVERIES_MAX = 10  # after so many deliveries that nobody finished, a message is set aside
DEAD_ATTEMPTS_MAX = 20

DEAD_REASON = "Tagstack-Dead-Reason"
DEAD_STATUS = "Tagstack-Dead-Status"
DEAD_SUBJECT = "Tagstack-Dead-Subject"
DEAD_TIME = "Tagstack-Dead-Time"
DEAD_MISSING = "Tagstack-Dead-Missing-Bytes"  # of a payload too large to be kept with the reason
DEAD_REASON_LENGTH_MAX = 1_000
DEAD_STATUS_BYTES_MAX = 16_000

_log = logging.getLogger(__name__)


async def _whole(message: NatsMessage) -> NatsMessage:
    """Hand the message itself to the handler, which reads its subject and headers."""
    return message


class QueueIntake:
    """Takes commands from TAGSTACK_QUEUE through FastStream subscribers."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._appender: Appender | None = None
        self._stopping = asyncio.Event()
        self.dead_letters = 0

    async def start(self, nc: Client) -> None:
        """Get ready to write dead letters; the subscribers start with their broker."""
        self._appender = await Appender(PlainTransport(nc)).start()

    def stop(self) -> None:
        """Wait for nothing any more; what is in flight and not done is delivered again."""
        self._stopping.set()

    def register(self, broker: NatsBroker) -> None:
        """Subscribe to every partition."""
        for partition in range(QUEUE_PARTITIONS):
            subscriber = broker.subscriber(
                f"{QUEUE}.{partition}.*.*.*",
                stream=JStream(QUEUE_STREAM, declare=False),
                durable=f"tagstack-commands-{partition}",
                pull_sub=PullSub(batch_size=1, timeout=FETCH_TIMEOUT_S),
                config=ConsumerConfig(max_ack_pending=1, ack_wait=ACK_WAIT_S, max_deliver=-1),
                ack_policy=AckPolicy.MANUAL,
                decoder=_whole,
                no_reply=True,
                title=f"queue, partition {partition}",
                include_in_schema=False,
            )
            subscriber(self.take)

    async def take(self, message: NatsMessage) -> None:
        """Carry out one queued command; acknowledge it when it is stored, or kept as a dead letter."""
        msg: Msg = message.raw_message
        heart = asyncio.create_task(_beat(msg))
        try:
            while not self._stopping.is_set():
                try:
                    await self._finish(msg)
                    return
                except (Unavailable, TooManyRequests, UnknownOutcome) as error:
                    _log.warning("queue: %s; trying again", error)
                    await self._pause()
        finally:
            heart.cancel()

    async def _finish(self, msg: Msg) -> None:
        refusal = await self._carry_out(msg)
        if refusal is not None:
            await self._bury(msg, refusal)
        await msg.ack_sync()

    async def _carry_out(self, msg: Msg) -> TagstackError | None:
        """Return why a command was refused; None when it was accepted."""
        if msg.metadata.num_delivered > DELIVERIES_MAX:
            return Refused(f"delivered {msg.metadata.num_delivered} times and never finished")
        continue_trace(msg.headers)
        try:
            await self._handle(read_request(QUEUE, queue_subject(msg.subject), _headers(msg), msg.data))
        except TooManyRequests:
            raise
        except Refused as error:
            return error
        return None

    async def _bury(self, msg: Msg, refusal: TagstackError) -> None:
        """Keep a refused message with its reason. Stored before the message is acknowledged, never after."""
        subject = queue_subject(msg.subject)
        told = {
            MESSAGE_ID: f"dead/{msg.metadata.timestamp.timestamp()}/{msg.metadata.sequence.stream}",
            DEAD_REASON: _one_line(str(refusal)),
            DEAD_STATUS: _status(refusal),
            DEAD_SUBJECT: subject,
            DEAD_TIME: text_of(msg.metadata.timestamp.astimezone(UTC)),
        }
        headers = _headers(msg)
        missing = {DEAD_MISSING: str(len(msg.data))}
        letter = DEAD + subject[len(QUEUE) :]
        try:
            await self._store(Message(letter, msg.data, headers | told))
        except TooLarge:
            # the server took the message, but with our reason beside it there is too much of it
            kept = {name: headers[name] for name in (COMMAND_ID, SENT)}
            await self._store(Message(letter, b"", kept | told | missing))
        self.dead_letters += 1

    async def _store(self, letter: Message) -> None:
        assert self._appender is not None, "started before its subscribers"
        for _ in range(DEAD_ATTEMPTS_MAX):
            try:
                await self._appender.append(letter)
                return
            except UnknownOutcome as error:
                if "duplicate" in str(error):
                    return  # kept by an earlier delivery
        raise Unavailable(f"no dead letter stored in {DEAD_ATTEMPTS_MAX} attempts")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(RETRY_WAIT_S):
                await self._stopping.wait()
        except TimeoutError:
            return


def queue_subject(stored: str) -> str:
    """Return the subject a message was sent to: the stored one without its partition."""
    rest = stored[len(QUEUE) + 1 :]
    return f"{QUEUE}.{rest.partition('.')[2]}"


def _headers(msg: Msg) -> dict[str, str]:
    """Return a message's headers, with a command id and the time it was sent in any case."""
    given = dict(msg.headers or {})
    command_id = given.get(COMMAND_ID) or given.pop(MESSAGE_ID, "") or f"queue:{msg.metadata.sequence.stream}"
    given.pop(MESSAGE_ID, None)
    kept = {name: value for name, value in given.items() if not name.startswith("Nats-")}
    return {SENT: text_of(msg.metadata.timestamp.astimezone(UTC))} | kept | {COMMAND_ID: command_id}


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())[:DEAD_REASON_LENGTH_MAX]


def _status(refusal: TagstackError) -> str:
    """Return the Status of a refusal as JSON, with as many of its causes as a header carries."""
    status = failure(refusal)
    causes = status["details"].get("causes", [])
    while len(told := msgspec.json.encode(status)) > DEAD_STATUS_BYTES_MAX:
        if not causes:
            status["message"] = _one_line(status["message"])
            return msgspec.json.encode(status).decode()
        del causes[len(causes) // 2 :]
        status["message"] = _one_line(status["message"])
    return told.decode()


async def _beat(msg: Msg) -> None:
    """Tell the server that the message is being worked on, so that nobody else gets it meanwhile."""
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        with contextlib.suppress(NatsError):  # no server: the message is delivered again
            await msg.in_progress()
