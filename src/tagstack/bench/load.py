"""Sends requests and counts the answers: as many as fit in flight, or at a steady rate.

The sender runs on the fast path itself, so that it takes as little as it can from the cores it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tagstack.adapters.nats_wire import WireTransport
from tagstack.domain.errors import TagstackError

ANSWER_TIMEOUT_S = 30.0
SUCCESS = b'"status":"Success"'


class Sent(msgspec.Struct, frozen=True):
    """A request to be sent."""

    subject: str
    body: bytes
    headers: dict[str, str] | None = None


class Load(msgspec.Struct):
    """What came of some requests. `seconds` is from the first request to the last answer."""

    seconds: float
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        """Return the answers per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency, in ms, that `share` of the answers kept within."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Unanswered(TagstackError):
    """Requests were refused, or not answered in time."""


class Sender:
    """Sends requests over one connection and one inbox of its own; `answered` is told of every answer."""

    def __init__(self, transport: WireTransport, answered: Callable[[Sent, bytes], None] | None = None) -> None:
        self._transport = transport
        self._told = answered
        self._inbox = transport.new_inbox()
        self._open: dict[str, tuple[float, Sent]] = {}
        self._latencies: list[float] = []
        self._count = 0
        self._next: Iterator[Sent] = iter(())
        self._more = False  # requests that `steady` has not sent yet
        self._done: asyncio.Future[None] | None = None

    async def start(self) -> Sender:
        """Subscribe to the answers."""
        await self._transport.subscribe(f"{self._inbox}.*", self._answered)
        await self._transport.flush()
        return self

    async def crowd(self, requests: Iterator[Sent], in_flight: int) -> Load:
        """Keep so many requests in flight until there are no more. Raises Unanswered."""
        self._latencies, self._next = [], requests
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        for request in _first(requests, in_flight):
            self._send(request)
        await self._until_done()
        return Load(time.perf_counter() - began, self._latencies)

    async def steady(self, requests: Iterator[Sent], per_s: float) -> Load:
        """Send at a steady rate, however slow the answers are. Raises Unanswered."""
        self._latencies, self._next, self._more = [], iter(()), True
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        for number, request in enumerate(requests):
            ahead = began + number / per_s - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            self._send(request)
        self._more = False
        if self._open:
            await self._until_done()
        return Load(time.perf_counter() - began, self._latencies)

    def _send(self, request: Sent) -> None:
        self._count += 1
        token = str(self._count)
        self._open[token] = (time.perf_counter(), request)
        self._transport.send(request.subject, request.body, f"{self._inbox}.{token}", request.headers)

    def _answered(self, msg: Any) -> None:
        sent = self._open.pop(msg.subject.rpartition(".")[2], None)
        if sent is None or self._done is None or self._done.done():
            return
        if SUCCESS not in msg.data:
            self._done.set_exception(Unanswered(f"a request was refused: {msg.data.decode()} {msg.headers or ''}"))
            return
        self._latencies.append((time.perf_counter() - sent[0]) * 1e3)
        if self._told is not None:
            self._told(sent[1], msg.data)
        request = next(self._next, None)
        if request is not None:
            self._send(request)
        elif not self._open and not self._more:
            self._done.set_result(None)

    async def _until_done(self) -> None:
        assert self._done is not None, "begun"
        answered = -1
        while not self._done.done():
            if answered == len(self._latencies):
                raise Unanswered(f"no answer within {ANSWER_TIMEOUT_S} s, {len(self._open)} requests are open")
            answered = len(self._latencies)
            await asyncio.wait([self._done], timeout=ANSWER_TIMEOUT_S)
        self._done.result()


def _first(requests: Iterator[Sent], count: int) -> Iterator[Sent]:
    for _ in range(count):
        request = next(requests, None)
        if request is None:
            return
        yield request
