"""The past of an image stream, followed back by links: each event names the one before it under the same subject.

Reading it under a filter makes the server look into every block of the log between the first match and the last,
which takes the longer the more everybody else has stored: an image stream of a hundred events in a log of two
million took it 0.7 s, and blocks that it has not in memory take seconds more. A link costs a direct get, and at
most one block.

What if a link is missing, as in an event of an older worker, or leads to something else? Then the rest is read under
a filter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from tagstack.adapters.nats_append import Message
from tagstack.adapters.nats_direct import DirectGet, StoredMessage
from tagstack.domain.times import canonical

PREVIOUS = "Tagstack-Previous"
TIME = "Nats-Time-Stamp"
GETS_IN_FLIGHT_MAX = 64
LINKS_PER_LOOK = 100  # after so many it is looked how far apart the events are
NEAR = 2_000  # positions: of events nearer than that each block has several, and the server finds them faster


def link(messages: Sequence[Message], previous: Iterable[int]) -> None:
    """Let messages that are stored one right after the other name the ones before them under their subjects.

    `previous` is where the last one before all of these is, 0 where there is none. Among themselves the header
    says how far back, below zero, since their positions are not known yet.
    """
    seen: dict[str, int] = {}
    for number, (message, position) in enumerate(zip(messages, previous, strict=True)):
        before = seen.get(message.subject)
        message.headers[PREVIOUS] = str(position if before is None else before - number)
        seen[message.subject] = number


def previous_of(position: int, headers: Mapping[str, str]) -> int | None:
    """Return where the message before the one at `position` is, under its subject: 0 for none, None if not told."""
    told = headers.get(PREVIOUS)
    if told is None:
        return None
    before = int(told)
    return position + before if before < 0 else before


class Start(msgspec.Struct, frozen=True):
    """From where on the past is wanted: a position, or a time of storing (as events write it) where one is given."""

    position: int = 1
    time: str = ""

    def includes(self, message: StoredMessage) -> bool:
        """Return whether a message is at the start, or after it."""
        if self.time:
            return canonical(message.headers[TIME]) >= self.time
        return message.position >= self.position

    @property
    def request(self) -> dict[str, Any]:
        """Return the arguments with which `DirectGet.read` starts here."""
        return {"since": self.time} if self.time else {"first": self.position}


BEGINNING = Start()


class Past:
    """Reads what came before a message under its subject."""

    def __init__(self, direct: DirectGet) -> None:
        self._direct = direct
        self._gets = asyncio.Semaphore(GETS_IN_FLIGHT_MAX)

    async def at(self, positions: Iterable[int]) -> list[StoredMessage]:
        """Return the messages at some positions, as far as the log has them."""
        found = await asyncio.gather(*(self._at(position) for position in positions))
        return [message for message in found if message is not None]

    async def of_subjects(self, newest: Iterable[StoredMessage], start: Start = BEGINNING) -> list[StoredMessage]:
        """Return what `of_subject` says of the newest message of each of several subjects, in the order of the log."""
        found = await asyncio.gather(*(self.of_subject(message, start) for message in newest))
        return sorted(chain.from_iterable(found), key=lambda message: message.position)

    async def of_subject(self, newest: StoredMessage, start: Start = BEGINNING) -> list[StoredMessage]:
        """Return a message and those before it under its subject, in order, from `start` on."""
        if not start.includes(newest):
            return []
        found = [newest]
        while previous := previous_of(found[-1].position, found[-1].headers):
            message = None if _near(found) else await self._at(previous)
            if message is None or message.subject != newest.subject or message.position >= found[-1].position:
                break
            if not start.includes(message):
                previous = 0
                break
            found.append(message)
        found.reverse()
        if previous == 0:
            return found
        return await self._direct.read(newest.subject, last=found[0].position - 1, **start.request) + found

    async def _at(self, position: int) -> StoredMessage | None:
        async with self._gets:
            return await self._direct.at(position)


def _near(found: Sequence[StoredMessage]) -> bool:
    """Return, now and then, whether the last events that were found lie near to each other."""
    if len(found) % LINKS_PER_LOOK:
        return False
    return found[-LINKS_PER_LOOK].position - found[-1].position < NEAR * LINKS_PER_LOOK
