"""Hears every tag event through one durable consumer, in one worker at a time, and feeds the followers.

The server pins the consumer to one client; when that one dies, another is pinned, learns anew who
follows whom, and goes on with what was not acknowledged. Events come over a `Transport`; all that is rare is asked
over nats-py.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters.cancelling import cancelled
from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_own_events import OwnEvents
from tagstack.adapters.nats_reader import LogSource, header_of, numbers_of
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream, log_position
from tagstack.adapters.nats_subjects import EVERY_TAG
from tagstack.adapters.nats_trace import TRACEPARENT, continue_trace
from tagstack.adapters.nats_transport import Arrived, Transport, Unsubscribe
from tagstack.application.followers import Followers, Heard
from tagstack.domain.errors import TagstackError, Unavailable, UnreadableEvent
from tagstack.domain.nesting import UNREADABLE

CONSUMER = "tagstack-followers"
GROUP = "followers"
RESET = f"$JS.API.CONSUMER.RESET.{EVENTS_STREAM}.{CONSUMER}"
BATCH_MESSAGES_MAX = 500
PULL_EXPIRES_S = 5.0
GATHER_S = 0.005  # between two pulls while events keep coming
GATHERED_MAX = 100  # times that own events are passed before the consumer is moved, some milliseconds for the server
GATHER_EXPIRES_S = 0.001  # of a pull that takes what is there already
PIN_TIMEOUT_S = 6.0
ACK_WAIT_S = 5.0
RETRY_WAIT_S = 0.5
MOVED_MIN = 50  # events that are worth moving the consumer for, where the server is asked for what comes next anyway
STOP_TIMEOUT_S = 2.0
LEARNED_AT_ONCE = 25
MISSED_MAX = 10_000  # positions that are looked through for what was missed; beyond it all is learned anew
PIN = "Nats-Pin-Id"
_PIN_MISMATCH = "423"
_ASK_AGAIN = ("404", "408", _PIN_MISMATCH)  # no messages, expired, another client is pinned

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Heard)


class FollowerFeed:
    """Feeds `Followers` from the log."""

    def __init__(self, nc: Client, transport: Transport, followers: Followers, own: OwnEvents) -> None:
        self._nc = nc
        self._transport = transport
        self._own = own
        self._log = LogSource(nc, transport=transport)
        self._direct = DirectGet(nc, transport=transport)
        self._followers = followers
        # what two pulls asked for at the most, each with its connection; None: stop
        self._arrived: deque[tuple[int, Arrived | None]] = deque()
        self._some_arrived = asyncio.Event()
        self._inbox = transport.new_inbox()
        self._pin = ""
        self._learned = 0  # the position up to which it is known who follows whom; 0: nothing is known
        self._forgotten = 0
        self._wanted = 0
        self._busy = False
        self._stopping = False
        self._unsubscribe: Unsubscribe | None = None
        self._unfinished: list[Arrived] = []  # heard, and not acknowledged yet
        self._heard_over = 0  # the connection over which the last of them came
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Declare the consumer and begin to listen."""
        self._unsubscribe = await self._transport.subscribe(self._inbox, self._arrive)
        await self._own.start()
        await self._direct.start()
        await self._declare()
        self._task = asyncio.create_task(self._run())

    def forget(self) -> None:
        """Learn everything anew: the log may have lost its tail."""
        self._learned = 0
        self._forgotten += 1
        self._own.forget()

    async def stop(self) -> None:
        """Stop listening and hand back what was not finished, so that the next worker begins at once."""
        if self._task is None:
            return
        self._stopping = True
        self._arrive(None)
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT_S)
        await cancelled([self._task], STOP_TIMEOUT_S)
        if self._unsubscribe is None or not self._transport.is_connected:
            return
        await self._unsubscribe()  # from here on the server sends us nothing more
        self._unfinished += [msg for _, msg in self._arrived if msg is not None]
        for msg in self._unfinished:
            if msg.reply:
                await self._transport.publish(msg.reply, b"-NAK")
        if self._pin:
            unpin = f"$JS.API.CONSUMER.UNPIN.{EVENTS_STREAM}.{CONSUMER}"
            await self._transport.publish(unpin, msgspec.json.encode({"group": GROUP}))
        await self._transport.flush()

    async def _declare(self) -> None:
        config = {
            "durable_name": CONSUMER,
            "filter_subject": EVERY_TAG,
            "deliver_policy": "all",
            "ack_policy": "all",
            "ack_wait": int(ACK_WAIT_S * 1e9),
            "max_ack_pending": 2 * BATCH_MESSAGES_MAX,
            "priority_groups": [GROUP],
            "priority_policy": "pinned_client",
            "priority_timeout": int(PIN_TIMEOUT_S * 1e9),
        }
        body = {"stream_name": EVENTS_STREAM, "config": config}
        answer = await jetstream(self._nc, f"CONSUMER.DURABLE.CREATE.{EVENTS_STREAM}.{CONSUMER}", body)
        if "error" in answer:
            raise Unavailable(f"consumer {CONSUMER} can't be declared: {answer['error']['description']}")

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._pull()
                while not self._stopping:
                    await self._take(*await self._next())
            except TimeoutError:
                continue  # the server forgot the request, as after a restart: ask again
            except (TagstackError, NatsError) as error:
                _log.warning("followers: %s; trying again", error or type(error).__name__)
                await asyncio.sleep(RETRY_WAIT_S)

    def _arrive(self, msg: Arrived | None) -> None:
        self._arrived.append((self._transport.connection, msg))
        self._some_arrived.set()

    async def _next(self) -> tuple[int, Arrived | None]:
        if not self._arrived:  # a timeout for each of many costs as much as to hear it
            self._some_arrived.clear()
            async with asyncio.timeout(2 * PULL_EXPIRES_S):
                await self._some_arrived.wait()
        return self._arrived.popleft()

    async def _pull(self) -> None:
        """Ask for what is there by now, or, after that was nothing, for the next event whenever it comes.

        Being sent each event by itself would cost as much as the command that made it.
        """
        self._wanted, expires_s = (BATCH_MESSAGES_MAX, GATHER_EXPIRES_S) if self._busy else (1, PULL_EXPIRES_S)
        request = {"batch": self._wanted, "expires": int(expires_s * 1e9), "group": GROUP}
        if self._pin:
            request["id"] = self._pin
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.{CONSUMER}"
        await self._transport.publish(subject, msgspec.json.encode(request), self._inbox)

    async def _take(self, connection: int, msg: Arrived | None) -> None:
        if msg is None:
            return
        if self._stopping:
            self._unfinished.append(msg)
            return
        if not msg.reply:  # not a message, but the end of a request
            await self._ended((msg.headers or {}).get("Status", ""))
            return
        self._unfinished.append(msg)
        self._heard_over = connection
        if not await self._heard(msg, header_of(msg, PIN)):
            return
        self._wanted -= 1
        if self._wanted == 0:
            await self._finish()

    async def _heard(self, msg: Arrived, pin: str) -> bool:
        """Hear a message however often that takes: the next acknowledgement covers it. False: stopped before."""
        while not self._stopping:
            try:
                position, _, _ = numbers_of(msg.reply)
                if pin != self._pin or not self._learned:
                    await self._learn(position)
                    self._pin = pin
                await self._hear(position, msg)
                self._know(position)
                return True
            except (TagstackError, NatsError, TimeoutError) as error:
                _log.warning("followers: %s; trying again", error or type(error).__name__)
                await asyncio.sleep(RETRY_WAIT_S)
        return False

    async def _finish(self) -> None:
        """Let more gather if there was anything, acknowledge what was heard, and ask for more."""
        self._busy = bool(self._unfinished)
        if self._unfinished:
            last = self._unfinished[-1]
            position, _, _ = numbers_of(last.reply)
            self._own.heard(position, self._heard_over)
            await self._gather()
            passed, more = self._own.place - position, self._own.more()
            if passed >= (MOVED_MIN if more else 1) and await self._own.move(RESET):
                self._busy = more
                self._know(position + passed)
            else:
                await self._transport.publish(last.reply, b"+ACK")  # all up to this one
            self._unfinished.clear()
        await self._pull()

    async def _gather(self) -> None:
        """Wait for a moment, or while nothing but own events that followers ignore are stored, within a bound."""
        for _ in range(GATHERED_MAX):
            await asyncio.sleep(GATHER_S)
            if not self._own.passed(self._followers.ignores) or self._own.more() or self._stopping:
                break

    async def _ended(self, status: str) -> None:
        if status == _PIN_MISMATCH:
            self._pin = ""
            self._own.forget()  # another worker hears the events
        if status not in _ASK_AGAIN:
            await asyncio.sleep(RETRY_WAIT_S)
            await self._declare()
        await self._finish()

    async def _hear(self, position: int, msg: Arrived) -> None:
        event = _read(position, msg.data)
        if event is None:
            return
        self._followers.learn(position, event)
        if not self._followers.concerns(event):
            return
        continue_trace({TRACEPARENT: header_of(msg, TRACEPARENT)})  # reading all headers of each would cost more
        try:
            await self._followers.hear(position, event)
        except UnreadableEvent as error:
            _log.error("followers: what the event at position %s is about is left alone: %s", position, error)

    async def _learn(self, position: int) -> None:
        """Learn who follows whom before the event at a position is heard: what was missed, or all of it.

        Of many tags the latter takes longer than the server keeps a pin, so it is not done for every new one.
        """
        if self._learned and position - self._learned <= MISSED_MAX:
            first, last = self._learned + 1, position - 1
            for missed in await self._direct.read(EVERY_TAG, first=first, last=last) if first <= last else []:
                self._take_in(missed.position, missed.body)
            return
        forgotten, end = self._forgotten, await log_position(self._nc)
        self._followers.forget()
        async with aclosing(self._log.read_last(EVERY_TAG)) as newest:
            async for messages in newest:
                for number, message in enumerate(messages):
                    self._take_in(message.position, message.body)
                    if number % LEARNED_AT_ONCE == 0:
                        await asyncio.sleep(0)  # commands are not to wait for all of this
        self._learned = end if self._forgotten == forgotten else 0

    def _know(self, position: int) -> None:
        if self._learned:  # else it was forgotten meanwhile
            self._learned = max(self._learned, position)

    def _take_in(self, position: int, body: bytes) -> None:
        event = _read(position, body)
        if event is not None:
            self._followers.learn(position, event)


def _read(position: int, body: bytes) -> Heard | None:
    """Return what the message at a position says; None where it is no event."""
    try:
        return _decoder.decode(body)
    except UNREADABLE as error:
        _log.error("followers: the event at position %s can't be read: %s", position, error)
        return None
