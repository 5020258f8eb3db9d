"""The user's side of the service: sends commands and queries as an actor, and waits for nothing without end.

A command that got no answer is sent again under its first id, which is safe: a command that stored an
event never stores another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import uuid
from collections.abc import AsyncGenerator, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig, DeliverPolicy

from tagstack.adapters.nats_intake import COMMAND_ID, REASON, SENT
from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM
from tagstack.adapters.nats_subjects import COMMANDS, QUERIES, token
from tagstack.domain.errors import Forbidden, TagstackError, TooLarge, Unavailable
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of

CONNECT_TIMEOUT_S = 2.0
CONNECT_WAIT_S = 0.1
REPLY_TIMEOUT_S = 5.0
ATTEMPTS_MAX = 3
ATTEMPTS_WAIT_S = 0.4
LIST_LENGTH_MAX = 500
TRY_AGAIN = ("ServiceUnavailable", "TooManyRequests")

Status = dict[str, Any]

_DENIED = re.compile(r'permissions violation for \w+ to "([^"]+)"', re.IGNORECASE)


class Answered(TagstackError):
    """The service answered a query with a Status that says no."""

    def __init__(self, status: Status) -> None:
        super().__init__(str(status.get("message", "refused")))
        self.status = status


class Envelope(msgspec.Struct, frozen=True):
    """What goes with a command: its id and when it was first sent, both kept when it is sent again."""

    reason: str = ""
    command_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    sent: str = msgspec.field(default_factory=lambda: text_of(datetime.now(UTC)))

    def headers(self) -> dict[str, str]:
        """Return the command's headers."""
        headers = {COMMAND_ID: self.command_id, SENT: self.sent}
        return headers | {REASON: self.reason} if self.reason else headers


class ServiceClient:
    """One connection of an actor to the service."""

    def __init__(self, url: str, actor: str) -> None:
        self.url = without_password(url)
        self.actor = actor
        self._url = url
        self._nc: Client | None = None
        self._failing: dict[str, asyncio.Future[Msg]] = {}
        self._trouble = ""
        self.unreadable: dict[str, None] = {}  # what lists had to leave out, and why; a set in order

    async def __aenter__(self) -> Self:
        await self.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._nc is not None:
            await self._nc.close()

    async def connected(self) -> Client:
        """Return the connection, made again where it was lost. Raises Unavailable."""
        if self._nc is None or self._nc.is_closed:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    self._nc = await nats.connect(
                        self._url.split(","),
                        name="tagstack",
                        allow_reconnect=False,
                        max_reconnect_attempts=1,  # 0 would mean for ever
                        reconnect_time_wait=CONNECT_WAIT_S,
                        connect_timeout=int(CONNECT_TIMEOUT_S),
                        error_cb=self._failed,
                        closed_cb=self._lost,
                    )
            except (OSError, TimeoutError, NatsError, ValueError) as error:
                why = self._trouble or _told(error)
                raise Unavailable(f"no NATS server answers at {self.url}: {why}") from error
        return self._nc

    async def command(self, target: ImageStreamName, body: bytes, envelope: Envelope) -> Status:
        """Send a command and return its Status.

        Raises: Unavailable where no answer came after all attempts, TooLarge, Forbidden where the
        server does not let this actor ask.
        """
        subject = ".".join((COMMANDS, token(self.actor), token(target.namespace), token(target.name)))
        headers = envelope.headers()
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                status: Status = _read(await self.request(subject, body, headers))
            except Unavailable:
                if attempt == ATTEMPTS_MAX:
                    raise
            else:
                if status.get("reason") not in TRY_AGAIN or attempt == ATTEMPTS_MAX:
                    return status
            await asyncio.sleep(ATTEMPTS_WAIT_S)
        raise AssertionError("the last attempt returns or raises")

    async def query(self, namespace: str, kind: str, name: str = "", **more: Any) -> dict[str, Any]:
        """Return the object or list asked for. Raises Answered with the Status, Unavailable, Forbidden."""
        subject = ".".join((QUERIES, token(self.actor), token(namespace)))
        body = {"kind": kind, "name": name} | more
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                found = _read(await self.request(subject, json.dumps(body).encode(), {}))
            except Unavailable:
                if attempt == ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(ATTEMPTS_WAIT_S)
                continue
            if found.get("kind") == "Status":
                raise Answered(found)
            return found
        raise AssertionError("the last attempt returns or raises")

    async def items(self, namespace: str, kind: str, **more: Any) -> list[dict[str, Any]]:
        """Return every item of a list, page by page; what could not be read, and why, is in `unreadable` then."""
        found: list[dict[str, Any]] = []
        start, limit = "", LIST_LENGTH_MAX
        while True:
            try:
                page = await self.query(namespace, kind, limit=limit, **{"continue": start}, **more)
            except Answered as answer:
                if answer.status.get("reason") != "RequestEntityTooLarge" or limit == 1:
                    raise
                limit = max(1, limit // 4)  # the page does not fit in a message
                continue
            found += page["items"]
            meta = page.get("metadata", {})
            self.unreadable |= dict.fromkeys(meta.get("unreadable", ()))
            start = meta.get("continue", "")
            if not start:
                return found

    async def request(self, subject: str, body: bytes, headers: dict[str, str], timeout_s: float = 0) -> Msg:
        """Return the reply to one request; 0 is the usual timeout. Raises Unavailable, Forbidden, TooLarge."""
        timeout_s = timeout_s or REPLY_TIMEOUT_S
        nc = await self.connected()
        reply = task_of(nc.request(subject, body, timeout=timeout_s, headers=headers or None))
        try:
            with self.failing(subject) as failing:
                await asyncio.wait({reply, failing}, return_when=asyncio.FIRST_COMPLETED)
                return failing.result() if failing.done() else reply.result()
        except NoRespondersError:
            raise Unavailable(f"no worker of tagstack answers at {self.url}") from None
        except MaxPayloadError:
            raise TooLarge(f"the body has {len(body)} bytes, the server takes up to {nc.max_payload}") from None
        except (NatsTimeout, TimeoutError):
            raise Unavailable(f"no answer from {self.url} within {timeout_s:g} s") from None
        except NatsError as error:
            raise Unavailable(f"no answer from {self.url}: {_told(error)}") from error
        finally:
            reply.cancel()

    @contextlib.contextmanager
    def failing(self, subject: str) -> Iterator[asyncio.Future[Msg]]:
        """Give a future that fails when the server forbids the subject, or the connection is lost."""
        failing: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        key = subject.lower()  # nats-py hands errors on in lower case
        self._failing[key] = failing
        try:
            yield failing
        finally:
            self._failing.pop(key, None)
            failing.cancel()

    async def messages(self, subject: str) -> AsyncGenerator[Msg, None]:
        """Yield what is published under a subject from now on. Raises Forbidden, Unavailable."""
        nc = await self.connected()
        with self.failing(subject) as failing:
            subscription = await nc.subscribe(subject, pending_msgs_limit=-1, pending_bytes_limit=-1)
            async for message in self.arriving(subscription, failing):
                yield message

    async def tags(self, subject: str) -> AsyncGenerator[Msg, None]:
        """Yield the last message of every subject of TAGSTACK_TAGS under a filter, then what comes."""
        nc = await self.connected()
        with self.failing(f"$JS.API.CONSUMER.CREATE.{TAGS_STREAM}") as failing:
            try:
                subscription = await nc.jetstream(timeout=REPLY_TIMEOUT_S).subscribe(
                    subject,
                    stream=TAGS_STREAM,
                    ordered_consumer=True,
                    config=ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT),
                    pending_msgs_limit=-1,
                    pending_bytes_limit=-1,
                )
            except (NatsError, TimeoutError) as error:
                raise Unavailable(f"{TAGS_STREAM} at {self.url} can't be read: {_told(error)}") from error
            async for message in self.arriving(subscription, failing):
                yield message

    async def arriving(self, subscription: Subscription, failing: asyncio.Future[Msg]) -> AsyncGenerator[Msg, None]:
        """Yield a subscription's messages until it fails."""
        while True:
            arrived = task_of(subscription.next_msg(timeout=None))
            try:
                await asyncio.wait({arrived, failing}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                yield arrived.result()
            except NatsError as error:
                raise Unavailable(f"the connection to {self.url} was lost: {_told(error)}") from error
            finally:
                arrived.cancel()

    async def jetstream(self, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API. Raises Unavailable with its description where it answers with an error."""
        payload = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await self.request(f"$JS.API.{call}", payload, {})).data)
        if "error" in answer:
            raise Unavailable(f"JetStream at {self.url} refuses {call}: {answer['error']['description']}")
        return answer

    async def log_position(self) -> int | None:
        """Return the log's last position; None where this user may not ask for it."""
        try:
            state = (await self.jetstream(f"STREAM.INFO.{EVENTS_STREAM}"))["state"]
        except (Unavailable, Forbidden):
            return None
        return int(state["last_seq"])

    async def _failed(self, error: Exception) -> None:
        self._trouble = _told(error)
        found = _DENIED.search(str(error))
        failing = self._failing.get(found[1].lower()) if found else None
        if failing is not None and not failing.done():
            failing.set_exception(Forbidden(f'"{self.actor}" may not use {found[1]} at {self.url}'))  # type: ignore[index]

    async def _lost(self) -> None:
        for failing in self._failing.values():
            if not failing.done():
                failing.set_exception(Unavailable(f"the connection to {self.url} was lost"))


def task_of(work: Coroutine[Any, Any, Msg]) -> asyncio.Task[Msg]:
    """Return a task that may be left alone: nats-py ends a cancelled wait with an error of its own."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)) if host != parts.netloc else url


def _read(reply: Msg) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(reply.data)
    except msgspec.DecodeError:
        raise Unavailable(f"what answers is no worker of tagstack: {reply.data[:80]!r}") from None
    return found


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, OSError) and error.errno:
        told = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
        return told.lower()
    return str(error).removeprefix("nats: ") or type(error).__name__
