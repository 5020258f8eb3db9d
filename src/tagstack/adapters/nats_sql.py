"""SQL from NATS: request/reply on `tagstack.sql.<actor>`, answered with a stream of messages.

The answer. JSON: one message `{"columns": [{"name", "type"}], "position": N}`, then messages that are
arrays of rows, each row an array, then an empty message. Arrow: messages whose bodies, one after the
other, are one Arrow IPC stream, then an empty message. Every message carries `Tagstack-Position`, the
log position the snapshot stands at. The last, empty one carries `Tagstack-Rows`, how many rows were
sent; where it has none, the message before it is a Status (it begins with `{"kind":"Status"`, an Arrow
stream never does) and what came before that is not the whole answer.

Cancel. A request with header `Tagstack-Statement-Id` (the requester's own choice, up to 128
characters) is stopped by an empty message to the same subject with the same header; it needs no
reply subject, and only the same actor's statement is meant. Whichever worker gets it tells all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tagstack.adapters.nats_subjects import REPLY_PREFIXES, SQL, name_of, token
from tagstack.application.replies import failure
from tagstack.application.statements import Piece, Statements
from tagstack.domain.errors import BadRequest, Cancelled, Refused, TagstackError, Unavailable
from tagstack.domain.names import ACTOR_LENGTH_MAX

WORKERS = "tagstack-sql"  # the queue group: each statement goes to one worker
CANCELS = "tagstack.sql_cancel"  # between workers; no user may publish there

STATEMENT_ID = "Tagstack-Statement-Id"
POSITION = "Tagstack-Position"
ROWS = "Tagstack-Rows"
STATEMENT_ID_LENGTH_MAX = 128
HEADER_BYTES_MAX = 1_024  # of max_payload, set aside for headers
FLUSH_TIMEOUT_S = 10
ABANDONED_FLUSH_TIMEOUT_S = 3_600

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

Observe = Callable[[str, int], None]


class SqlIntake:
    """Takes statements and answers each; `observe` is told the outcome and the number of rows."""

    def __init__(self, nc: Client, statements: Statements, observe: Observe) -> None:
        self._nc = nc
        self._statements = statements
        self._observe = observe
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to take statements, as one of possibly several workers."""
        self._subscriptions = [
            await self._nc.subscribe(f"{CANCELS}.*.*", cb=self._cancelled),
            await self._nc.subscribe(f"{SQL}.*", queue=WORKERS, cb=self._arrived),
        ]
        # until the server knows the subscriptions a request finds nobody; nats-py's first ping overtakes them
        await self._nc.flush(FLUSH_TIMEOUT_S)
        await self._nc.flush(FLUSH_TIMEOUT_S)

    async def stop(self, timeout_s: float) -> None:
        """Take no more, finish what is in flight within a bound, and stop the rest."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def _arrived(self, msg: Msg) -> None:
        identity = (msg.headers or {}).get(STATEMENT_ID, "")
        if not msg.data and identity:
            await self._nc.publish(f"{CANCELS}.{msg.subject[len(SQL) + 1 :]}.{token(identity)}", b"")
            return
        # a reply to any other subject could be stored as an event
        if not msg.reply.startswith(REPLY_PREFIXES):
            return
        task = asyncio.create_task(self._answered(msg, identity))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancelled(self, msg: Msg) -> None:
        actor, identity = msg.subject[len(CANCELS) + 1 :].split(".")
        if task := self._known.get((actor, identity)):
            task.cancel()

    async def _answered(self, msg: Msg, identity: str) -> None:
        key = (msg.subject[len(SQL) + 1 :], token(identity)) if identity else None
        try:
            if key and key in self._known:
                raise BadRequest(f"{STATEMENT_ID} {identity!r} is that of a statement that still runs")
            if len(identity) > STATEMENT_ID_LENGTH_MAX:
                raise BadRequest(
                    f"{STATEMENT_ID} has {len(identity)} characters, at most {STATEMENT_ID_LENGTH_MAX} are allowed"
                )
            if key and (task := asyncio.current_task()):
                self._known[key] = task
            rows = await self._answer(msg)
            self._observe("Success", rows)
        except TagstackError as error:
            await self._failed(msg, error)
        except asyncio.CancelledError:
            await self._failed(msg, Cancelled("the statement was cancelled"))
        except NatsError as error:
            _log.warning("an answer was lost, the sender will ask again: %s", error)
        finally:
            if key and self._known.get(key) is asyncio.current_task():
                del self._known[key]

    async def _answer(self, msg: Msg) -> int:
        actor = name_of(msg.subject[len(SQL) + 1 :])
        if not 1 <= len(actor.encode()) <= ACTOR_LENGTH_MAX:
            raise BadRequest(f"actor must have 1 to {ACTOR_LENGTH_MAX} bytes, got {len(actor.encode())}")

        async def deliver(piece: Piece) -> None:
            await self._send(msg.reply, piece.body, {POSITION: str(piece.position)})

        ended = await self._statements.answer(actor, msg.data, self._nc.max_payload - HEADER_BYTES_MAX, deliver)
        await self._send(msg.reply, b"", {POSITION: str(ended.position), ROWS: str(ended.rows)})
        return ended.rows

    async def _failed(self, msg: Msg, error: TagstackError) -> None:
        self._observe(error.reason if isinstance(error, Refused) else "ServiceUnavailable", 0)
        try:
            await self._nc.publish(msg.reply, _encode(failure(error)))
            await self._nc.publish(msg.reply, b"")
        except NatsError as lost:
            _log.warning("an answer was lost, the sender will ask again: %s", lost)

    async def _send(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Send one message and wait for the server, so that no more than two wait here."""
        try:
            await self._nc.publish(subject, body, headers=headers)
            await self._flushed()
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"the server did not take the answer: {error or type(error).__name__}") from error

    async def _flushed(self) -> None:
        """Wait until the server has everything.

        nats-py's read loop dies of a pong that nobody waits for any more, and with it the whole connection.
        So a wait that is cancelled, or too long, leaves the flush itself alone.
        """
        flushing = asyncio.ensure_future(self._nc.flush(ABANDONED_FLUSH_TIMEOUT_S))
        flushing.add_done_callback(lambda done: done.cancelled() or done.exception())
        done, _ = await asyncio.wait({flushing}, timeout=FLUSH_TIMEOUT_S)
        if not done:
            raise TimeoutError(f"no answer within {FLUSH_TIMEOUT_S} s")
        flushing.result()
