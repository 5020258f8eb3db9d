"""Group commit: appends that wait at the same time go as one atomic batch, since each batch costs milliseconds.

Single messages too where the log is synced before each ack, so that one sync does for all of them; elsewhere they
are faster alone. The twin without groups is `Appender`. Every message keeps its own guard. The server refuses a
batch where one guard fails and stores nothing of it, so its members are then appended one by one, each to be
stored or refused by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from tagstack.adapters.nats_append import EXPECTED_SUBJECT, Appender, Message, RepeatedInBatch
from tagstack.domain.errors import StaleState, TagstackError, TooLarge, UnknownOutcome

FLIGHTS_MAX = 2  # one is being synced while the next one is sent
GROUP_MESSAGES_MIN = 16  # a batch costs the server some syncs more, for the place where it gathers
GROUP_MESSAGES_MAX = 500  # the server takes 1,000, and nothing else meanwhile
GROUP_BYTES_MAX = 512 * 1024
SMALLER, LARGER = 0.25, 1.25  # what a refusal makes of the next groups' size, and what a success

_REFUSED = (StaleState, RepeatedInBatch, TooLarge)


class _Member(msgspec.Struct, eq=False):
    """What one caller waits for: messages to be stored in a row, all or none."""

    messages: Sequence[Message]
    stored: asyncio.Future[int]

    @property
    def guard(self) -> str:
        """Return the subject that the first message's guard is about."""
        return self.messages[0].headers.get(EXPECTED_SUBJECT, self.messages[0].subject)

    @property
    def size(self) -> int:
        """Return the bytes of the bodies."""
        return sum(len(message.body) for message in self.messages)


class GroupCommit:
    """Appends as `Appender` does, together while many wait. Where nobody waits an append goes straight.

    `singles`: single messages wait for each other too, since the server syncs before each ack.
    """

    def __init__(self, appender: Appender, *, singles: bool) -> None:
        self._appender = appender
        self._singles = singles
        self._flights_max = FLIGHTS_MAX if singles else 1  # no sync to wait for: two would only be smaller
        self._waiting: deque[_Member] = deque()
        self._flights = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._together_max = float(GROUP_MESSAGES_MAX)

    async def start(self) -> GroupCommit:
        """Subscribe to the ack inbox."""
        await self._appender.start()
        return self

    def append(self, message: Message) -> Coroutine[Any, Any, int]:
        """Store one message and return its position. Raises as `Appender.append`."""
        return self.append_batch([message])

    def append_batch(self, messages: Sequence[Message]) -> Coroutine[Any, Any, int]:
        """Store messages, all or none, and return the last one's position. Raises as `append`."""
        if self._singles or len(messages) > 1:
            return self._append(messages)
        return self._appender.append(messages[0])

    async def append_chain(self, messages: Sequence[Message]) -> list[int]:
        """Store messages in a row and return their positions. Raises as `Appender.append_chain`."""
        if not self._singles:
            return await self._appender.append_chain(messages)
        last = await self._append(messages)
        return list(range(last - len(messages) + 1, last + 1))

    async def _append(self, messages: Sequence[Message]) -> int:
        if self._flights == self._flights_max:
            member = _Member(messages, asyncio.get_running_loop().create_future())
            self._waiting.append(member)
            return await member.stored
        self._flights += 1
        try:
            return await self._appender.append_batch(messages)
        finally:
            self._landed()

    def _landed(self) -> None:
        if not self._waiting:
            self._flights -= 1
            return
        task = asyncio.create_task(self._fly(self._next_group()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next_group(self) -> list[_Member]:
        """Take from those who wait as many as go together; the first one in any case."""
        group: list[_Member] = []
        guards: set[str] = set()
        count = size = 0
        while self._waiting:
            member = self._waiting[0]
            count += len(member.messages)
            size += member.size
            # the server judges every guard of a batch by the state before it
            if group and (count > self._together_max or size > GROUP_BYTES_MAX or member.guard in guards):
                break
            group.append(self._waiting.popleft())
            guards.add(member.guard)
        return group

    async def _fly(self, group: list[_Member]) -> None:
        try:
            if not _pays(group):
                self._learn(LARGER)
                await self._one_by_one(group)
            else:
                await self._together(group)
        finally:
            for member in group:
                _fail(member, UnknownOutcome("the append was broken off"))
            self._landed()

    async def _together(self, group: list[_Member]) -> None:
        messages = [message for member in group for message in member.messages]
        try:
            last = await self._appender.append_batch(messages)
        except _REFUSED:
            self._learn(SMALLER)
            await self._one_by_one(group)
        except TagstackError as error:
            for member in group:
                _fail(member, type(error)(*error.args))
        else:
            self._learn(LARGER)
            position = last - len(messages)
            for member in group:
                position += len(member.messages)
                _succeed(member, position)

    async def _one_by_one(self, group: list[_Member]) -> None:
        await asyncio.gather(*(self._alone(member) for member in group))

    async def _alone(self, member: _Member) -> None:
        try:
            _succeed(member, await self._appender.append_batch(member.messages))
        except TagstackError as error:
            _fail(member, error)

    def _learn(self, factor: float) -> None:
        self._together_max = min(max(1.0, self._together_max * factor), GROUP_MESSAGES_MAX)


def _pays(group: Sequence[_Member]) -> bool:
    """Return whether one batch is cheaper: it stands for several batches, or for the syncs of many messages."""
    return sum(len(member.messages) > 1 for member in group) > 1 or len(group) >= GROUP_MESSAGES_MIN


def _succeed(member: _Member, position: int) -> None:
    if not member.stored.done():  # else its caller was cancelled
        member.stored.set_result(position)


def _fail(member: _Member, error: TagstackError) -> None:
    """Tell a caller that has no answer yet."""
    if not member.stored.done():
        member.stored.set_exception(error)
