"""Queries from NATS: request/reply on `tagstack.queries.<actor>.<namespace>`."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from tagstack.adapters.nats_subjects import QUERIES, REPLY_PREFIXES, name_of
from tagstack.application.queries import Queries, read_query
from tagstack.application.replies import failure
from tagstack.domain.errors import TagstackError, TooLarge

WORKERS = "tagstack-queries"
QUERIES_IN_FLIGHT_MAX = 256

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class QueryIntake:
    """Takes queries and replies to each; over its bound a query waits in the subscription."""

    def __init__(self, nc: Client, queries: Queries) -> None:
        self._nc = nc
        self._queries = queries
        self._room = asyncio.Semaphore(QUERIES_IN_FLIGHT_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take queries, as one of possibly several workers."""
        await self._nc.subscribe(f"{QUERIES}.*.*", queue=WORKERS, cb=self._arrived)

    async def _arrived(self, msg: Msg) -> None:
        if not msg.reply.startswith(REPLY_PREFIXES):
            return
        await self._room.acquire()
        task = asyncio.create_task(self._reply(msg))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _reply(self, msg: Msg) -> None:
        try:
            body = _encode(await self._answer(msg))
            if len(body) > self._nc.max_payload:
                raise TooLarge(
                    f"the answer has {len(body)} bytes, the server takes {self._nc.max_payload}: set a limit"
                )
        except TagstackError as error:
            body = _encode(failure(error))
        except Exception as error:  # a bug of ours: its sender is told, and the others are served
            _log.exception("a query to %s failed", msg.subject)
            body = _encode(failure(error))
        await self._nc.publish(msg.reply, body)

    async def _answer(self, msg: Msg) -> dict[str, object]:
        tokens = msg.subject[len(QUERIES) + 1 :].split(".")
        actor, namespace = (name_of(text) for text in tokens)
        return await self._queries.answer(actor, namespace, read_query(msg.data))
