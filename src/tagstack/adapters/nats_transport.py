"""The small port that the hot paths use to talk NATS, and the plain adapter of it over nats-py.

Its twin is `nats_wire`, the fast path. Both keep the same promises; the contract tests run on both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tagstack.adapters.nats_streams import settled
from tagstack.domain.errors import TooLarge, Unavailable

HEADERS_BYTES_MAX = 65_535  # JetStream's own limit


class Arrived(Protocol):
    """A message as it arrived."""

    @property
    def subject(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str] | None: ...
    @property
    def data(self) -> bytes: ...


Receive = Callable[[Any], None]  # called with an Arrived; it must neither block nor raise
Unsubscribe = Callable[[], Awaitable[None]]  # returns when all that came before has been received


class Transport(Protocol):
    """A connection to NATS that comes back by itself."""

    def new_inbox(self) -> str:
        """Return a fresh subject for answers."""
        ...

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Unsubscribe:
        """Call `receive` for every message under a subject, over reconnects too."""
        ...

    async def publish(
        self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message. While disconnected it is kept, within a bound, and sent afterwards.

        Raises: TooLarge for more than the server takes, Unavailable over the bound and when closed.
        """
        ...

    def send_on(self, connection: int, subject: str, body: bytes, reply: str = "") -> bool:
        """Send a message over a certain connection; False where it is open no more, and for 0."""
        ...

    async def flush(self) -> None:
        """Return when the server has taken all that was sent before. Raises Unavailable."""
        ...

    async def close(self) -> None:
        """Send what waits to be sent, and end what is this transport's own."""
        ...

    @property
    def is_connected(self) -> bool:
        """Return whether the server can be reached now."""
        ...

    @property
    def connection(self) -> int:
        """Return the number of the connection to the server, which a new one makes larger; 0: it is not told."""
        ...


class PlainTransport:
    """The port over a nats-py connection, which is its owner's to close."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    def new_inbox(self) -> str:
        """Return a fresh subject for answers."""
        return self._nc.new_inbox()

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Unsubscribe:
        """Call `receive` for every message under a subject, over reconnects too."""

        async def arrived(msg: Msg) -> None:
            receive(msg)

        subscription = await self._nc.subscribe(
            subject, queue=queue, cb=arrived, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

        async def leave() -> None:
            # `drain` sends this too, but its PING overtakes it, and forgets what the server sends in between
            await self._nc._send_unsubscribe(subscription._id, limit=0)
            await self.flush()
            await subscription.drain()  # type: ignore[no-untyped-call]

        return leave

    async def publish(
        self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message. Raises TooLarge, Unavailable."""
        _check_size(body, headers or {}, self._nc.max_payload)
        try:
            await self._nc.publish(subject, body, reply=reply, headers=headers)  # type: ignore[arg-type]
        except NatsError as error:
            raise Unavailable(f"NATS can't be reached: {error or type(error).__name__}") from error

    def send_on(self, connection: int, subject: str, body: bytes, reply: str = "") -> bool:
        """Send nothing: nats-py may send what waits over a later connection."""
        return False

    async def flush(self) -> None:
        """Return when the server has taken all that was sent before. Raises Unavailable."""
        try:
            await settled(self._nc)
        except NatsError as error:
            raise Unavailable(f"NATS can't be reached: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Leave the connection to its owner."""

    @property
    def is_connected(self) -> bool:
        """Return whether the server can be reached now."""
        return self._nc.is_connected

    @property
    def connection(self) -> int:
        """Return 0, since nats-py does not tell."""
        return 0


def _check_size(body: bytes, headers: Mapping[str, str], limit: int) -> None:
    """Raise TooLarge where body and headers together are over the server's limit.

    nats-py counts the body only, and the server cuts the connection of whoever sends more.
    """
    size = len(body)
    if size + HEADERS_BYTES_MAX > limit:
        size += sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) + 12
    if size > limit:
        raise too_large(size, limit)


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error that refuses a message of `size` bytes."""
    return TooLarge(f"the message has {size} bytes, the server takes messages up to {limit}")
