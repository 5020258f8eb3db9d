"""Asks SQL of the service: an answer arrives in pieces and is handed on as it comes, never held as a whole.

A statement whose answer is left half-way is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncGenerator
from typing import Any, Self

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tagstack.adapters.nats_client import ATTEMPTS_MAX, ATTEMPTS_WAIT_S, Answered, ServiceClient, task_of
from tagstack.adapters.nats_subjects import SQL, token
from tagstack.domain.errors import TooLarge, Unavailable

PIECE_TIMEOUT_S = 60.0  # the service's own limits are far below
STATEMENT_ID = "Tagstack-Statement-Id"


class Column(msgspec.Struct, frozen=True):
    """A column of an answer; `type` is DuckDB's name."""

    name: str
    type: str


class Question(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A statement; the answer includes position `min_position`."""

    sql: str
    params: list[Any] | None = None
    format: str = "json"
    min_position: int = 0


class _NoWorker(Unavailable):
    """Nobody listens for SQL."""


class SqlAnswer:
    """One answer: `columns` and `rows`, or `pieces`, which joined are one Arrow IPC stream."""

    def __init__(self, client: ServiceClient, question: Question) -> None:
        self._client = client
        self._question = question
        self._subject = f"{SQL}.{token(client.actor)}"
        self._headers = {STATEMENT_ID: uuid.uuid4().hex}
        self._subscription: Subscription | None = None
        self._first: Msg | None = None
        self._ended = True
        self.columns: list[Column] = []
        self.position = 0

    async def __aenter__(self) -> Self:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                self._first = await self._ask()
                break
            except _NoWorker:
                await self._leave()
                if attempt == ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(ATTEMPTS_WAIT_S)
            except BaseException:
                await self._leave()
                raise
        if self._question.format == "json" and self._first is not None:
            head = json.loads(self._first.data)
            self.columns = [Column(column["name"], column["type"]) for column in head["columns"]]
            self.position = int(head["position"])
            self._first = None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def rows(self) -> AsyncGenerator[list[Any], None]:
        """Yield every row. Raises Answered where the statement fails on the way, TooLarge for JSON too deep to read."""
        async for piece in self.pieces():
            try:
                rows = json.loads(piece)
            except RecursionError as error:
                raise TooLarge("a JSON value is nested too deeply: select it as text, `::VARCHAR`") from error
            for row in rows:
                yield row

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bodies of the messages up to the empty one."""
        if self._first is not None:
            yield self._first.data
        while (message := await self._next()).data:
            yield message.data
        self._ended = True

    async def _ask(self) -> Msg:
        nc = await self._client.connected()
        inbox = nc.new_inbox()
        self._subscription = await nc.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        self._ended = False
        await nc.publish(self._subject, msgspec.json.encode(self._question), reply=inbox, headers=self._headers)
        return await self._next()

    async def _next(self) -> Msg:
        assert self._subscription is not None, "asked before"
        with self._client.failing(self._subject) as failing:
            arriving = task_of(self._subscription.next_msg(timeout=None))
            try:
                await asyncio.wait({arriving, failing}, timeout=PIECE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                if not arriving.done():
                    raise Unavailable(f"no answer from {self._client.url} within {PIECE_TIMEOUT_S:.0f} s")
                return self._checked(arriving.result())
            except NatsError as error:
                raise Unavailable(f"the connection to {self._client.url} was lost: {error}") from error
            finally:
                arriving.cancel()

    def _checked(self, message: Msg) -> Msg:
        if message.headers and message.headers.get("Status") == "503":
            self._ended = True
            raise _NoWorker(f"no worker of tagstack answers SQL at {self._client.url}")
        if message.data.startswith(b'{"kind":"Status"'):
            self._ended = True
            raise Answered(json.loads(message.data))
        return message

    async def _leave(self) -> None:
        """Stop listening, and cancel the statement unless its answer ended."""
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with contextlib.suppress(NatsError, Unavailable):
            nc = await self._client.connected()
            await subscription.unsubscribe()
            if not self._ended:
                await nc.publish(self._subject, b"", headers=self._headers)  # closing sends what waits
