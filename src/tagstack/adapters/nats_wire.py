"""The fast path: the NATS protocol spoken directly, for the few subjects that carry every command.

It costs 1-2 us per message where nats-py costs 20. It does plain TCP, with a user and password or a
token from the URL at the most; for TLS and all other ways to prove who one is, `connect` refuses and
nats-py is used. Connecting, reconnecting and bounds are here; `nats_wire_format` writes
the bytes and `nats_wire_parser` reads them.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from tagstack.adapters import nats_wire_format as wire
from tagstack.adapters.nats_connection import CONNECT_TIMEOUT_S, PENDING_BYTES_MAX, RECONNECT_WAIT_S
from tagstack.adapters.nats_transport import Receive, Unsubscribe, too_large
from tagstack.adapters.nats_wire_format import Unsuited
from tagstack.adapters.nats_wire_parser import Delivered, Parser
from tagstack.domain.errors import Unavailable

PING_INTERVAL_S = 20.0
PINGS_UNANSWERED_MAX = 2
FLUSH_TIMEOUT_S = 10.0
TOGETHER_BYTES_MAX = 64 * 1024  # sent in one go; more would leave the server idle while we fill it
WRITE_BYTES_MAX = 1024 * 1024  # handed to the connection and not sent yet; over it publishers wait

_log = logging.getLogger(__name__)


class _Subscription(msgspec.Struct, frozen=True):
    subject: str
    queue: str
    receive: Receive


class WireTransport:
    """The port `Transport` on a TCP connection of its own."""

    def __init__(self, url: str, name: str, reconnected: Callable[[], Awaitable[None]] | None = None) -> None:
        parsed = [wire.parse_url(each) for each in url.split(",")]
        self._credentials = parsed[0][0]
        self._addresses = deque(address for _, address in parsed)  # the one in use, or to be tried next, stands first
        self._name = name
        self._reconnected = reconnected
        self._subscriptions: dict[bytes, _Subscription] = {}
        self._count = 0
        self._info = wire.Info()
        self._tcp: asyncio.Transport | None = None
        self._connection = 0
        self._out: list[bytes] = []  # sent together at the end of the loop's turn, or when connected again
        self._out_bytes = 0
        self._sending = False  # whether something was sent in this turn, whose end is waited for
        self._quiet = True  # whether few are sent now: the first one of a turn need not wait for others
        self._writable = asyncio.Event()
        self._greeted: asyncio.Future[wire.Info] | None = None
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._unanswered = 0
        self._coming_back: asyncio.Task[None] | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def is_connected(self) -> bool:
        """Return whether the server can be reached now."""
        return self._tcp is not None

    @property
    def connection(self) -> int:
        """Return the number of the connection to the server, which a new one makes larger."""
        return self._connection

    async def connect(self) -> WireTransport:
        """Connect for the first time. Raises Unsuited, Unavailable."""
        for left in reversed(range(len(self._addresses))):
            try:
                await self._dial()
                break
            except OSError as error:
                if not left:
                    raise Unavailable(f"no NATS server answers: {error or type(error).__name__}") from error
                self._addresses.rotate(-1)
        return self

    async def close(self) -> None:
        """Send what is waiting to be sent, and end."""
        self._closed = True
        for running in (self._coming_back, self._beating):
            if running is not None:
                running.cancel()
        if self._tcp is not None:
            self._send_out()
            self._tcp.close()

    def new_inbox(self) -> str:
        """Return a fresh subject for answers."""
        return f"_INBOX.{uuid.uuid4().hex}"

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Unsubscribe:
        """Call `receive` for every message under a subject, over reconnects too."""
        self._count += 1
        number = b"%d" % self._count
        self._subscriptions[number] = _Subscription(subject, queue, receive)
        if self._tcp is not None:
            self._put(wire.subscribe(subject, queue, number))

        async def unsubscribe() -> None:
            self._put(b"UNSUB %b\r\n" % number)
            try:
                await self.flush()
            finally:
                self._subscriptions.pop(number, None)

        return unsubscribe

    async def publish(
        self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message. Raises TooLarge, Unavailable."""
        self.send(subject, body, reply, headers)
        if not self._writable.is_set() and self._tcp is not None:
            await self._writable.wait()

    def send(self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Send a message like `publish`, without waiting while the connection takes no more."""
        head = wire.header_block(headers) if headers else b""
        size = len(head) + len(body)
        if size > self._info.max_payload:
            raise too_large(size, self._info.max_payload)
        if self._closed or self._out_bytes > PENDING_BYTES_MAX:
            raise Unavailable("NATS can't be reached: the connection is closed, or too much waits for it")
        self._put(wire.publish(subject, reply, head, body))

    def send_on(self, connection: int, subject: str, body: bytes, reply: str = "") -> bool:
        """Send a message over a certain connection; False where it is open no more, and for 0."""
        if self._tcp is None or connection != self._connection:
            return False
        self.send(subject, body, reply)
        self._send_out()  # what waits for the end of this turn may be sent over the next connection
        return True

    async def flush(self) -> None:
        """Return when the server has taken all that was sent before. Raises Unavailable."""
        if self._tcp is None:
            raise Unavailable("NATS can't be reached: not connected")
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._ping()
        except ConnectionError as error:
            raise Unavailable(f"NATS can't be reached: {error}") from error
        except TimeoutError:
            raise Unavailable(f"NATS does not answer within {FLUSH_TIMEOUT_S} s") from None

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        self._greeted, welcomed = loop.create_future(), loop.create_future()
        self._pongs = deque([welcomed])  # without what an attempt before this one waited for
        async with asyncio.timeout(CONNECT_TIMEOUT_S):  # its TimeoutError is an OSError
            tcp, _ = await loop.create_connection(lambda: Parser(self), *self._addresses[0])
            try:
                self._greet(tcp, await self._greeted)
                await welcomed
            except BaseException:
                tcp.abort()
                self._pongs.clear()
                raise
        tcp.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        self._tcp, self._unanswered = tcp, 0
        self._connection += 1
        self._writable.set()
        again = [wire.subscribe(sub.subject, sub.queue, number) for number, sub in self._subscriptions.items()]
        self._out = again + self._out
        self._send_out()
        self._beat()

    def _greet(self, tcp: asyncio.Transport, info: wire.Info) -> None:
        if info.tls_required or info.nonce or not info.headers:
            raise Unsuited("the server asks for TLS or a signature")
        if info.auth_required and not self._credentials:
            raise Unsuited("the server asks who we are, and the URL does not say")
        self._take_info(info)
        tcp.write(wire.connect(self._name, self._credentials))

    def _take_info(self, info: wire.Info) -> None:
        self._info = info
        told = map(wire.address, info.connect_urls)
        self._addresses.extend(address for address in told if address not in self._addresses)

    def _put(self, data: bytes) -> None:
        if not self._sending and self._tcp is not None:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send_out)
            if self._quiet:
                self._tcp.write(data)
                return
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > TOGETHER_BYTES_MAX:
            self._send_out()

    def _send_out(self) -> None:
        self._sending = False
        if self._tcp is None or not self._out:
            return
        self._quiet = len(self._out) == 1
        self._tcp.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    def _ping(self) -> asyncio.Future[None]:
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._put(b"PING\r\n")
        return pong

    def _beat(self) -> None:
        """Ask now and then whether the server is there, and give up the connection when it is not."""
        if self._tcp is None:
            return
        if self._unanswered >= PINGS_UNANSWERED_MAX:
            self._tcp.abort()
            return
        self._unanswered += 1
        self._ping()
        self._beating = asyncio.get_running_loop().call_later(PING_INTERVAL_S, self._beat)

    async def _come_back(self) -> None:
        while True:
            try:
                await self._dial()
                break
            except (OSError, Unsuited):
                self._addresses.rotate(-1)
                await asyncio.sleep(RECONNECT_WAIT_S)
        _log.warning("nats: the fast path is connected again")
        if self._reconnected is not None:
            await self._reconnected()

    # What the parser tells

    def delivered(self, number: bytes, message: Delivered) -> None:
        """Hand a message to its subscriber."""
        subscription = self._subscriptions.get(number)
        if subscription is not None:
            subscription.receive(message)

    def pinged(self) -> None:
        """Answer the server's question whether we are there."""
        self._put(b"PONG\r\n")

    def ponged(self) -> None:
        """Take the answer to the oldest PING."""
        self._unanswered = 0
        if self._pongs and not (pong := self._pongs.popleft()).done():
            pong.set_result(None)

    def told(self, info: bytes) -> None:
        """Take news about the server or its cluster."""
        decoded = wire.read_info(info)
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(decoded)
        else:
            self._take_info(decoded)

    def complained(self, text: str) -> None:
        """Note what the server has against us; it closes the connection itself where that is grave."""
        _log.warning("nats: the server says %s", text)
        if self._tcp is None:
            self._fail_waiting(text)

    def writable(self, yes: bool) -> None:
        """Let publishers wait while the connection takes no more."""
        (self._writable.set if yes else self._writable.clear)()

    def lost(self) -> None:
        """Come back, unless the end is meant."""
        self._fail_waiting("the connection was lost")
        if self._tcp is None:
            return  # while dialling, which sees it fail
        self._tcp = None
        self._writable.set()
        if self._beating is not None:
            self._beating.cancel()
        if not self._closed:
            _log.warning("nats: the fast path lost its connection")
            self._coming_back = asyncio.ensure_future(self._come_back())

    def _fail_waiting(self, why: str) -> None:
        waiting: list[asyncio.Future[Any]] = [*self._pongs, *([self._greeted] if self._greeted else [])]
        self._pongs.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(ConnectionError(why))
                future.exception()  # a PING of ours has nobody who waits for it
