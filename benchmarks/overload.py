"""Asks a command worker for ten times what it carries: `python benchmarks/overload.py [SECONDS]`, a minute by default.

Measures the rate it carries, then sends ten times as much, whatever comes back, then measures the rate
again. Prints a table: what was answered and how, the latency of the answers, and the memory of worker and server.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import uvloop

from tagstack.adapters.nats_wire import WireTransport
from tagstack.bench.load import SUCCESS, Load, Sender, Sent
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, Pushes, small
from tagstack.bench.stage import Stage, stage

SECONDS = 60.0
TIMES = 10.0
IN_FLIGHT = 512
CARRIED = 50_000  # commands that the carried rate is measured with
TICK_S = 0.002
SETTLE_S = 5.0
LAST_ANSWER_S = 30.0
TOO_MANY = b'"code":429'
PROCESSES = ("commands", "server")


class Flood:
    """Sends at a rate, however slow the answers are, and counts what they say."""

    def __init__(self, transport: WireTransport) -> None:
        self._transport = transport
        self._inbox = transport.new_inbox()
        self._open: dict[str, float] = {}
        self.sent = 0
        self.seconds = 0.0
        self.accepted_ms = array("f")
        self.refused_ms = array("f")
        self.others: list[bytes] = []

    async def run(self, requests: Iterator[Sent], per_s: float, seconds: float) -> None:
        """Send for so long, and wait for the last answer."""
        await self._transport.subscribe(f"{self._inbox}.*", self._answered)
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for _ in range(int(per_s * passed) - self.sent):
                self._send(next(requests))
            await asyncio.sleep(TICK_S)
        self.seconds = time.perf_counter() - began
        deadline = time.perf_counter() + LAST_ANSWER_S
        while self._open and time.perf_counter() < deadline:  # noqa: ASYNC110 a program that only waits
            await asyncio.sleep(TICK_S)

    @property
    def unanswered(self) -> int:
        """Return how many requests have no answer."""
        return len(self._open)

    def _send(self, request: Sent) -> None:
        self.sent += 1
        token = str(self.sent)
        self._open[token] = time.perf_counter()
        self._transport.send(request.subject, request.body, f"{self._inbox}.{token}")

    def _answered(self, msg: Any) -> None:
        sent = self._open.pop(msg.subject.rpartition(".")[2])
        latency_ms = (time.perf_counter() - sent) * 1e3
        if SUCCESS in msg.data:
            self.accepted_ms.append(latency_ms)
        elif TOO_MANY in msg.data:
            self.refused_ms.append(latency_ms)
        else:
            self.others.append(msg.data)


class Memory:
    """The memory of each process, and the most of it since it was last asked."""

    def __init__(self, place: Stage) -> None:
        self._stage = place
        self._most = dict.fromkeys(PROCESSES, 0.0)

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            for name in PROCESSES:
                self._most[name] = max(self._most[name], self._stage.memory_mb(name, now=True))
            await asyncio.sleep(1)

    def row(self) -> str:
        """Return what each holds now, and the most of it."""
        return " | ".join(f"{self._stage.memory_mb(name, now=True):.0f}" for name in PROCESSES)

    def most(self) -> str:
        """Return the most that each has held while it was watched."""
        return " | ".join(f"{self._most[name]:.0f}" for name in PROCESSES)


async def overload(seconds: float) -> None:
    """Print a row for each of: before, overloaded, after."""
    async with stage() as place:
        await place.start_worker("commands")
        sender, memory = await Sender(place.transport).start(), Memory(place)
        await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
        pushes = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])
        prepared = cycle(list(pushes.take(IMAGES * IMAGE_STREAMS)))  # while it sends it has no time to make them
        await sender.crowd(_some(prepared, CARRIED), IN_FLIGHT)

        print("| | offered/s | accepted/s | refused/s | accepted p99, ms | refused p99, ms | worker, MB | server, MB |")
        print("|---|---|---|---|---|---|---|---|")
        before = await sender.crowd(_some(prepared, CARRIED), IN_FLIGHT)
        print(_carried("before", before, memory))
        flood, watching = Flood(place.transport), asyncio.create_task(memory.watch())
        await flood.run(prepared, TIMES * before.rate, seconds)
        watching.cancel()
        print(_flooded(flood, memory))
        after = await sender.crowd(_some(prepared, CARRIED), IN_FLIGHT)
        print(_carried("right after", after, memory))
        await asyncio.sleep(SETTLE_S)
        after = await sender.crowd(_some(prepared, CARRIED), IN_FLIGHT)
        print(_carried(f"{SETTLE_S:.0f} s later", after, memory))
        print(f"\nwithout an answer: {flood.unanswered}; other answers: {len(flood.others)}", *flood.others[:3])


def _some(requests: Iterator[Sent], count: int) -> Iterator[Sent]:
    return (next(requests) for _ in range(count))


def _carried(name: str, load: Load, memory: Memory) -> str:
    return f"| {name} | {load.rate:,.0f} | {load.rate:,.0f} | 0 | {load.percentile(0.99):.0f} | | {memory.row()} |"


def _flooded(flood: Flood, memory: Memory) -> str:
    rates = [len(each) / flood.seconds for each in (flood.accepted_ms, flood.refused_ms)]
    late = [Load(1.0, list(each)).percentile(0.99) if each else 0.0 for each in (flood.accepted_ms, flood.refused_ms)]
    return (
        f"| overloaded | {flood.sent / flood.seconds:,.0f} | {rates[0]:,.0f} | {rates[1]:,.0f} "
        f"| {late[0]:.0f} | {late[1]:.0f} | {memory.most()} |"
    )


if __name__ == "__main__":
    uvloop.run(overload(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
