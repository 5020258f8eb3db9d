"""Commands from NATS: request/reply on `tagstack.commands.>`, answered with a Status.

Nothing is queued here without end: what comes over the bound is refused as soon as it is read, by an
answer made beforehand, so that a worker refuses many times what it carries.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache

import msgspec

from tagstack.adapters.nats_owners import Owners
from tagstack.adapters.nats_subjects import COMMANDS, REPLY_PREFIXES, addressee
from tagstack.adapters.nats_trace import continue_trace
from tagstack.adapters.nats_transport import Arrived, Transport, Unsubscribe
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome, failure, shortened, success
from tagstack.domain.errors import BadRequest, TagstackError, TooLarge, TooManyRequests, Unavailable
from tagstack.domain.names import ACTOR_LENGTH_MAX, ImageStreamName, image_stream_faults, namespace_faults
from tagstack.domain.times import canonical

GROUP = "tagstack-commands"  # the queue group: each command goes to one worker

COMMAND_ID = "Tagstack-Command-Id"
REASON = "Tagstack-Reason"
SENT = "Tagstack-Sent"
CREATE = "Tagstack-Create"
MESSAGE_ID = "Nats-Msg-Id"
COMMAND_ID_LENGTH_MAX = 512
REASON_BYTES_MAX = 4_096
_CACHED_SUBJECTS_MAX = 16_384
IDLE_MAX = 1_024  # tasks that are kept for the next commands
REFUSALS_MAX = 100_000  # that wait to be sent; who waits behind so many has given up by then
SENT_MIN, SENT_MAX = "2000", "9000"  # what can be a time at which someone sent a command

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_fresh, _numbers = uuid.uuid4().hex, itertools.count()  # ids of commands that came without one

Handle = Callable[[Request], Awaitable[Outcome]]


def read_request(prefix: str, subject: str, headers: Mapping[str, str] | None, body: bytes) -> Request:
    """Return the request in a message. Raises BadRequest for a wrong subject or header."""
    actor, target = _addressee(subject, prefix)
    if not headers:
        return Request(actor, target, body, _fresh_id(), repeatable=False)
    given = headers.get(COMMAND_ID) or headers.get(MESSAGE_ID) or ""
    if len(given) > COMMAND_ID_LENGTH_MAX:
        raise BadRequest(f"{COMMAND_ID} has {len(given)} characters, at most {COMMAND_ID_LENGTH_MAX} are allowed")
    reason = headers.get(REASON, "")
    if len(reason.encode()) > REASON_BYTES_MAX:
        raise BadRequest(f"{REASON} has {len(reason.encode())} bytes, at most {REASON_BYTES_MAX} are allowed")
    return Request(
        actor=actor,
        target=target,
        body=body,
        command_id=given or _fresh_id(),
        repeatable=bool(given),
        reason=reason,
        sent=_sent(headers.get(SENT, "")),
        create=_create(headers.get(CREATE, "true")),
    )


def _fresh_id() -> str:
    return f"{_fresh}{next(_numbers):x}"


class CommandIntake:
    """Takes commands from a subject tree and replies to each."""

    def __init__(
        self, transport: Transport, handle: Handle, in_flight_max: int, refused: Callable[[], None] = lambda: None
    ) -> None:
        self._transport = transport
        self._handle = handle
        self._in_flight = 0
        self._in_flight_max = in_flight_max
        self._refused = refused  # called for each command that comes over the bound
        self._refusal = _encode(failure(TooManyRequests.in_flight(in_flight_max)))
        self._refusals: deque[str] = deque(maxlen=REFUSALS_MAX)
        self._refusing: asyncio.Task[None] | None = None
        self._owners = Owners(transport, self._take)
        self._unsubscribe: Unsubscribe | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[Arrived | None]] = []  # tasks that wait for their next command
        self._stopping = False

    async def start(self) -> None:
        """Begin to take commands, as one of possibly several workers."""
        await self._owners.start()
        self._unsubscribe = await self._transport.subscribe(f"{COMMANDS}.*.*.*", self._owners.sort, GROUP)

    async def stop(self, timeout_s: float) -> None:
        """Take no more, and finish what is in flight within a bound."""
        await self._owners.stop()
        if self._unsubscribe is not None:
            await self._unsubscribe()  # what has arrived already is answered
        self._stopping = True
        while self._idle:  # emptied: what an owner gives back from now on gets a task of its own
            self._idle.pop().set_result(None)
        if tasks := self._tasks | ({self._refusing} if self._refusing else set()):
            await asyncio.wait(tasks, timeout=timeout_s)

    @property
    def handed_on(self) -> int:
        """Return how many commands were left to the workers that own their image streams."""
        return self._owners.handed_on

    def _take(self, msg: Arrived) -> None:
        # a reply to any other subject could be stored as an event
        if not msg.reply.startswith(REPLY_PREFIXES):
            return
        if self._in_flight >= self._in_flight_max:
            self._refused()
            self._refusals.append(msg.reply)
            if self._refusing is None or self._refusing.done():
                self._refusing = asyncio.create_task(self._refuse())
            return
        self._in_flight += 1
        if self._idle:
            self._idle.pop().set_result(msg)
            return
        task = asyncio.get_running_loop().create_task(self._work(msg))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, msg: Arrived | None) -> None:
        """Carry out one command after the other: a task for each would cost twice as much."""
        loop = asyncio.get_running_loop()
        while msg is not None:
            await self._reply(msg)
            if self._stopping or len(self._idle) >= IDLE_MAX:
                return
            idle: asyncio.Future[Arrived | None] = loop.create_future()
            self._idle.append(idle)
            msg = await idle

    async def _reply(self, msg: Arrived) -> None:
        headers = msg.headers
        continue_trace(headers)
        command_id = ""
        try:
            request = read_request(COMMANDS, msg.subject, headers, msg.data)
            command_id = request.command_id
            status = success(await self._handle(request))
        except TagstackError as error:
            status = failure(error)
        except Exception as error:  # a bug of ours: its sender is told, and the others are served
            _log.exception("a command to %s failed", msg.subject)
            status = failure(error)
        finally:
            self._in_flight -= 1  # before the reply, which may bring the next one
        try:
            await self._transport.publish(msg.reply, _encode(status))
        except TooLarge:  # a deleted image stream may have more tags than the server takes as one message
            await self._send(msg.reply, _encode(shortened(status, command_id)))
        except Unavailable as error:
            _lost(error)

    async def _refuse(self) -> None:
        while self._refusals:
            await self._send(self._refusals.popleft(), self._refusal)

    async def _send(self, reply: str, answer: bytes) -> None:
        try:
            await self._transport.publish(reply, answer)
        except (TooLarge, Unavailable) as error:
            _lost(error)


def _lost(error: TagstackError) -> None:
    _log.warning("a reply was lost, the sender will ask again: %s", error)


@lru_cache(_CACHED_SUBJECTS_MAX)
def _addressee(subject: str, prefix: str) -> tuple[str, ImageStreamName]:
    actor, target = addressee(subject, prefix)
    _check_names(actor, target)
    return actor, target


def _check_names(actor: str, target: ImageStreamName) -> None:
    if not 1 <= len(actor.encode()) <= ACTOR_LENGTH_MAX:
        raise BadRequest(f"actor must have 1 to {ACTOR_LENGTH_MAX} bytes, got {len(actor.encode())}")
    if any(ord(char) < ord(" ") or char == "\x7f" for char in actor):
        raise BadRequest(f"actor must have no control characters, got {actor!r}")
    if target == ImageStreamName("_", "_"):
        return
    faults = [*namespace_faults(target.namespace, "namespace"), *image_stream_faults(target.name, "image stream")]
    if faults:
        told = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
        raise BadRequest(f"the subject names no image stream: {told}")


def _create(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{CREATE} must be true or false, got {text!r}")
    return text.lower() == "true"


def _sent(text: str) -> str:
    if not text:
        return ""
    try:
        sent = canonical(text)
    except ValueError:
        sent = ""
    if not SENT_MIN < sent < SENT_MAX:
        raise BadRequest(f"{SENT} must be an RFC 3339 time, got {text!r}")
    return sent
