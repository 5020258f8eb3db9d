"""What this worker stored itself, which its followers' feed need not be sent once more.

The server spends as much on sending an event back as on storing it. So the feed's consumer is moved past a run of
own events that followers ignore, and hears from the server what others stored and what matters to followers.

What if a position is remembered that the log has lost? The log loses its tail only with its server, so what was
stored or heard over one connection says nothing over the next, and is forgotten. What if nothing is remembered, or
only a part? The server sends what is missing: this saves work, and nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from tagstack.adapters.nats_transport import Arrived, Transport
from tagstack.domain.events import Event

OWN_EVENTS_MAX = 10_000
MOVE_TIMEOUT_S = 1.0

_log = logging.getLogger(__name__)


class OwnEvents:
    """Remembers what was stored after the feed's place, the position up to which all is done."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._events: dict[int, Event | None] = {}
        self._connection = 0  # over which all of this was stored and heard; 0: nothing is remembered
        self.place = 0
        self._immovable = 0  # a connection to a server that does not move consumers, as those before 2.14
        self._answers = ""
        self._moving: asyncio.Future[bytes] | None = None

    async def start(self) -> None:
        """Subscribe to the server's answers."""
        self._answers = self._transport.new_inbox()
        await self._transport.subscribe(self._answers, self._moved)

    def stored(self, events: Sequence[Event | None], last: int) -> None:
        """Remember events that were stored one after the other, the last one at position `last`.

        None is the event of an image, which nobody follows: what it says would be kept for nothing.
        """
        if not self._connection:
            return
        if len(self._events) >= OWN_EVENTS_MAX:
            self._events.clear()
        for position, event in enumerate(events, last + 1 - len(events)):
            self._events[position] = event

    def heard(self, position: int, connection: int) -> None:
        """Begin at a position that was heard, as all before it, over a connection; 0 remembers nothing."""
        if not connection or connection != self._transport.connection or connection == self._immovable:
            self.forget()
            return
        if connection != self._connection:
            self._events.clear()
        self._connection, self.place = connection, position
        if self._events:
            self._events = {each: event for each, event in self._events.items() if each > position}

    def passed(self, ignores: Callable[[Event], bool]) -> bool:
        """Take the place past a run of events that followers ignore; return whether there were any."""
        if self._connection != self._transport.connection:
            self.forget()
        before = self.place
        while self.place + 1 in self._events:
            event = self._events[self.place + 1]
            if event is not None and not ignores(event):
                break
            self.place += 1
            del self._events[self.place]
        return self.place > before

    def more(self) -> bool:
        """Return whether events were stored after the place, which has not got past what stands before them."""
        return bool(self._events)

    async def move(self, subject: str) -> bool:
        """Let a consumer, by the subject that resets it, go on behind the place; False where it does not move."""
        connection, body = self._connection, msgspec.json.encode({"seq": self.place + 1})
        moving = self._moving = asyncio.get_running_loop().create_future()
        if not self._transport.send_on(connection, subject, body, self._answers):
            return False
        try:
            async with asyncio.timeout(MOVE_TIMEOUT_S):
                refused = msgspec.json.decode(await moving).get("error")
        except TimeoutError:
            refused = {"description": f"no answer within {MOVE_TIMEOUT_S} s"}
        if refused:
            _log.info("%s: %s; all events are heard from the server", subject, refused.get("description"))
            self.forget()
            self._immovable = connection
        return not refused

    def _moved(self, msg: Arrived) -> None:
        if self._moving is not None and not self._moving.done():
            self._moving.set_result(msg.data)

    def forget(self) -> None:
        """Remember nothing, until something is heard."""
        self._events.clear()
        self._connection = self.place = 0
