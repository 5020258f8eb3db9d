"""Direct get: reads stored messages straight from the log, without a consumer.

One request answers the last message of a subject, the last of every subject under a filter, or the
next ones under a filter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from nats.aio.client import Client

from tagstack.adapters.nats_streams import EVENTS_STREAM
from tagstack.adapters.nats_transport import Arrived, PlainTransport, Transport
from tagstack.adapters.vigil import Vigil
from tagstack.domain.errors import Unavailable

READ_TIMEOUT_S = 10.0
BATCH_MESSAGES_MAX = 1_000
SUBJECTS_MAX = 1_024  # what the server answers to one `multi_last`

_SINGLE, _BATCH = "s", "b"  # a single answer has no end marker
_END_OF_BATCH, _NOT_FOUND, _TOO_MANY = "204", "404", "413"

_encode = msgspec.json.Encoder().encode


class TooManySubjects(Exception):
    """The filter matches more subjects than one request answers."""


class StoredMessage(msgspec.Struct, frozen=True):
    """One message of the log."""

    position: int
    subject: str
    body: bytes
    headers: Mapping[str, str]


class DirectGet:
    """Reads from one stream over one inbox."""

    def __init__(self, nc: Client, stream: str = EVENTS_STREAM, transport: Transport | None = None) -> None:
        self._transport = transport or PlainTransport(nc)
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._inbox = self._transport.new_inbox()
        self._count = 0
        self._reading: dict[str, tuple[list[StoredMessage], asyncio.Future[Mapping[str, str]]]] = {}
        self._vigil = Vigil(self._reading)

    async def start(self) -> DirectGet:
        """Subscribe to the inbox of the answers."""
        await self._transport.subscribe(f"{self._inbox}.*", self._answered)
        return self

    async def last(self, subject: str) -> StoredMessage | None:
        """Return the last message under one subject."""
        found, _ = await self._ask({"last_by_subj": subject})
        return found[0] if found else None

    async def at(self, position: int) -> StoredMessage | None:
        """Return the message at one position."""
        found, _ = await self._ask({"seq": position})
        return found[0] if found else None

    async def last_per_subject(self, filters: list[str]) -> list[StoredMessage]:
        """Return the last message of every subject under some filters, at one point in time.

        Raises: TooManySubjects beyond 1,024 of them.
        """
        found, end = await self._ask({"multi_last": filters})
        if end.get("Status") == _TOO_MANY:
            raise TooManySubjects(f"{filters} match more than {SUBJECTS_MAX} subjects")
        return found

    async def read(self, subject: str, first: int = 1, last: int | None = None, since: str = "") -> list[StoredMessage]:
        """Return the messages under a filter, in order, from `first` or `since` (RFC 3339) on, up to `last`."""
        messages: list[StoredMessage] = []
        start: dict[str, Any] = {"start_time": since} if since else {"seq": first}
        while True:
            found, end = await self._ask({"next_by_subj": subject, "batch": BATCH_MESSAGES_MAX} | start)
            for message in found:
                if last is not None and message.position > last:
                    return messages
                messages.append(message)
            if len(found) == 0 or end.get("Nats-Num-Pending", "0") == "0":
                return messages
            start = {"seq": found[-1].position + 1}

    async def page(self, first: int, messages_max: int, bytes_max: int) -> list[StoredMessage]:
        """Return the next messages of any subject from position `first` on, in order; none at the end."""
        request = {"seq": first, "next_by_subj": ">", "batch": messages_max, "max_bytes": bytes_max}
        found, _ = await self._ask(request)
        return found

    async def _ask(self, request: dict[str, Any]) -> tuple[list[StoredMessage], Mapping[str, str]]:
        """Send one request; return its messages and the headers of what ended them."""
        self._count += 1
        several = "batch" in request or "multi_last" in request
        token = f"{_BATCH if several else _SINGLE}{self._count}"
        ended: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        messages: list[StoredMessage] = []
        began = self._vigil.begin()
        self._reading[token] = (messages, ended)
        try:
            await self._transport.publish(self._subject, _encode(request), f"{self._inbox}.{token}")
            async with asyncio.timeout(READ_TIMEOUT_S):
                end = await ended
            self._vigil.answered(began)
        except TimeoutError:
            raise Unavailable(f"the log does not answer within {READ_TIMEOUT_S} s") from None
        finally:
            self._reading.pop(token, None)
        return messages, end

    def _answered(self, msg: Arrived) -> None:
        token = msg.subject.rsplit(".", 1)[1]
        reading = self._reading.get(token)
        if reading is None or reading[1].done():
            return
        messages, ended = reading
        headers = msg.headers or {}
        status = headers.get("Status")
        if status in (_END_OF_BATCH, _NOT_FOUND, _TOO_MANY):
            ended.set_result(headers)
        elif status is not None:
            ended.set_exception(Unavailable(f"the log answers {status} {headers.get('Description', '')}"))
        else:
            position = int(headers["Nats-Sequence"])
            messages.append(StoredMessage(position, headers["Nats-Subject"], msg.data, headers))
            if token.startswith(_SINGLE):
                ended.set_result(headers)
