"""SQL statements of analysts: who may ask, how many run at once, and how long each may take.

SQL sees every project, so it is a cluster-wide right. Where the statements run is behind a port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Literal, Protocol

import msgspec

from tagstack.application.grants import EVERYONE, Grants
from tagstack.domain import shape
from tagstack.domain.errors import BadRequest, Invalid, Timeout, TooManyRequests
from tagstack.domain.nesting import UNREADABLE

STATEMENTS_MAX = 64  # running or waiting; over it the answer is TooManyRequests
STATEMENTS_PER_ACTOR_MAX = 2  # running at once; fewer than there are processes, so that nobody takes them all
SNAPSHOT_LOOK_INTERVAL_S = 0.02


class Statement(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One statement with its parameters. An answer must include `min_position`."""

    sql: str
    params: list[Any] | dict[str, Any] | None = None
    format: Literal["json", "arrow"] = "json"
    min_position: Annotated[int, msgspec.Meta(ge=0)] = 0


class Piece(msgspec.Struct, frozen=True):
    """One message of an answer. `position` is the snapshot's."""

    body: bytes
    position: int


class Ended(msgspec.Struct, frozen=True):
    """How an answer ended: with every row, or `behind`, before it began, since the snapshot is too old."""

    rows: int
    position: int
    behind: bool = False


Deliver = Callable[[Piece], Awaitable[None]]


class Process(Protocol):
    """Runs one statement at a time."""

    async def run(self, request: bytes, piece_bytes_max: int, deliver: Deliver) -> Ended:
        """Hand over every piece of the answer. Raises Refused or Unavailable."""
        ...


class Processes(Protocol):
    """A bounded number of processes on the newest snapshot."""

    def taken(self) -> AbstractAsyncContextManager[Process]:
        """Return a process to run one statement; it is killed unless that statement ended."""
        ...

    def snapshot(self) -> tuple[str, int, int] | None:
        """Return what tells the newest snapshot from any other, or None where there is none."""
        ...


_decoder = msgspec.json.Decoder(Statement)


def read_statement(body: bytes) -> Statement:
    """Return the statement in a JSON body.

    Raises: Invalid for unknown fields and wrong types, BadRequest for what can't be read at all.
    """
    try:
        try:
            return _decoder.decode(body)
        except msgspec.ValidationError:
            raw = msgspec.json.decode(body)
            faults = shape.fit(raw, Statement)[1] if isinstance(raw, dict) else []
            if faults:
                raise Invalid.of("Statement", "", faults) from None
            raise
    except UNREADABLE as error:
        raise BadRequest(f"the statement can't be read: {error}") from error


class Statements:
    """Answers statements one or several at a time; over its bounds it refuses at once."""

    def __init__(self, processes: Processes, grants: Grants, timeout_s: float) -> None:
        self._processes = processes
        self._grants = grants
        self._timeout_s = timeout_s
        self._turns = _Turns()
        self.in_flight = 0

    async def answer(self, actor: str, body: bytes, piece_bytes_max: int, deliver: Deliver) -> Ended:
        """Hand over the answer piece by piece and return how it ended.

        The time limit covers the statement and the delivery of its rows; waiting for a process, and
        waiting for `minPosition`, have the same limit each.
        Raises: Refused or Unavailable; pieces that were handed over are then not the whole answer.
        """
        self._grants.check(actor, EVERYONE, "SQL")
        statement = read_statement(body)
        if self.in_flight >= STATEMENTS_MAX:
            raise TooManyRequests(f"{STATEMENTS_MAX} statements are running or waiting, which is the limit")
        self.in_flight += 1
        try:
            return await self._once_new_enough(actor, statement, body, (piece_bytes_max, deliver))
        finally:
            self.in_flight -= 1

    async def _once_new_enough(
        self, actor: str, statement: Statement, body: bytes, receiver: tuple[int, Deliver]
    ) -> Ended:
        deadline = time.monotonic() + self._timeout_s
        while True:
            seen = self._processes.snapshot()
            ended = await self._run(actor, body, *receiver)
            if not ended.behind:
                return ended
            while self._processes.snapshot() == seen:
                _check_deadline(deadline, self._timeout_s, ended.position, statement.min_position)
                await asyncio.sleep(SNAPSHOT_LOOK_INTERVAL_S)
            _check_deadline(deadline, self._timeout_s, ended.position, statement.min_position)

    async def _run(self, actor: str, body: bytes, piece_bytes_max: int, deliver: Deliver) -> Ended:
        async with self._taken(actor) as process:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await process.run(body, piece_bytes_max, deliver)
            except TimeoutError:
                raise Timeout(
                    f"the statement was stopped: it took longer than {self._timeout_s:g} s (sql_timeout_s)"
                ) from None

    @asynccontextmanager
    async def _taken(self, actor: str) -> AsyncIterator[Process]:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await stack.enter_async_context(self._turns.of(actor))
                    process = await stack.enter_async_context(self._processes.taken())
            except TimeoutError:
                raise TooManyRequests(
                    f"no process became free for the statement within {self._timeout_s:g} s (sql_timeout_s)"
                ) from None
            yield process


class _Turns:
    """Lets each actor run a few statements at once; the rest of that actor's wait in line."""

    def __init__(self) -> None:
        self._actors: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, actor: str) -> AsyncIterator[None]:
        semaphore, users = self._actors.get(actor, (asyncio.Semaphore(STATEMENTS_PER_ACTOR_MAX), 0))
        self._actors[actor] = (semaphore, users + 1)
        try:
            async with semaphore:
                yield
        finally:
            users = self._actors[actor][1] - 1
            if users:
                self._actors[actor] = (semaphore, users)
            else:
                del self._actors[actor]


def _check_deadline(deadline: float, timeout_s: float, position: int, wanted: int) -> None:
    if time.monotonic() > deadline:
        raise Timeout(
            f"the snapshot stands at position {position} and did not reach minPosition {wanted} "
            f"within {timeout_s:g} s (sql_timeout_s)"
        )
