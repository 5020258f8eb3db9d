"""A worker that decides nothing, beside the real one and raw appends, in turns: `python benchmarks/floor.py`.

For each request it stores the same event anew, under a guard and with a message id, and replies once that is acked,
over the connection that the real worker uses. What it carries bounds what any worker in Python can, and what it
costs less than the real one is the price of deciding: reading and checking commands, and building whole events.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from tagstack.adapters.nats_append import EXPECTED, EXPECTED_SUBJECT, MESSAGE_ID
from tagstack.adapters.nats_transport import Arrived
from tagstack.adapters.nats_wire import WireTransport
from tagstack.bench.load import Sender, Sent
from tagstack.bench.raw import RawLog, Shape, shape_of
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, NAMESPACE, Pushes, small
from tagstack.bench.stage import Stage, stage
from tagstack.bench.write_rows import IN_FLIGHT, SETTLE_S

COUNT, ROUNDS = 12_000, 5
SUBJECT, GROUP = "floor.commands", "floor"
REPLY = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"position":1,"changed":true}}'


class _Ack(msgspec.Struct):
    seq: int


async def decide_nothing(url: str, shape: Shape) -> None:
    """Answer every request until killed."""
    transport = await WireTransport(url, "tagstack-floor").connect()
    inbox, numbers, acks = transport.new_inbox(), itertools.count(), msgspec.json.Decoder(_Ack)
    waiting: dict[str, tuple[str, str]] = {}
    last: dict[str, int] = {}

    def asked(msg: Arrived) -> None:
        token, place = str(next(numbers)), f"tagstack.events.floor.{msg.subject.rpartition('.')[2]}"
        waiting[token] = msg.reply, place
        guard = {EXPECTED: str(last.get(place, 0)), EXPECTED_SUBJECT: f"{place}.>"}
        event = shape.message(f"{place}.tag.latest", guard, shape.headers[MESSAGE_ID] + token)
        transport.send(event.subject, event.body, f"{inbox}.{token}", event.headers)

    def acked(msg: Arrived) -> None:
        reply, place = waiting.pop(msg.subject.rpartition(".")[2])
        last[place] = acks.decode(msg.data).seq
        transport.send(reply, REPLY)

    await transport.subscribe(f"{inbox}.*", acked)
    await transport.subscribe(f"{SUBJECT}.*", asked, GROUP)
    await transport.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextmanager
def worker_that_decides_nothing(url: str, shape: Shape) -> Iterator[int]:
    """Run one in a process of its own, and give its id."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, __file__, url], **pipes) as process:  # type: ignore[call-overload]
        try:
            process.stdin.write(msgspec.json.encode(shape))
            process.stdin.close()
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def requests() -> Iterator[Sent]:
    """Return as many requests as commands are sent, of the same bytes."""
    for number in range(COUNT):
        sent = small(f"app{number % IMAGE_STREAMS}", number % IMAGES)
        yield Sent(f"{SUBJECT}.{sent.subject.rpartition('.')[2]}", sent.body)


def busy_s(process: int) -> float:
    """Return the processor time that a process has taken."""
    told = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


async def measure(place: Stage) -> None:
    """Print the rate of each, and what it costs server and worker."""
    await place.start_worker("commands")
    sender, raw = await Sender(place.transport).start(), await RawLog(place).start()
    pushes = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])
    await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
    await sender.crowd(pushes.take(2 * IMAGE_STREAMS), IN_FLIGHT)
    shape = await shape_of(place, f"tagstack.events.{NAMESPACE}.app0.tag.latest")

    async def decided() -> float:
        return (await sender.crowd(pushes.take(COUNT), IN_FLIGHT)).rate

    async def undecided() -> float:
        return (await sender.crowd(requests(), IN_FLIGHT)).rate

    async def appended() -> float:
        return await raw.crowd(shape, COUNT, IMAGE_STREAMS, IN_FLIGHT)

    assert place.server.process is not None
    server = place.server.process.pid
    with worker_that_decides_nothing(place.server.url, shape) as floor:
        ways: dict[str, tuple[Callable[[], Awaitable[float]], list[int]]] = {
            "tagstack": (decided, [server, place.process_of("commands")]),
            "a worker that decides nothing": (undecided, [server, floor]),
            "raw appends": (appended, [server, os.getpid()]),
        }
        found = {way: list[list[float]]() for way in ways}
        for _ in range(ROUNDS):
            for way, (work, processes) in ways.items():
                before = [busy_s(process) for process in processes]
                rate = await work()
                costs = [
                    (busy_s(process) - early) / COUNT * 1e6 for process, early in zip(processes, before, strict=True)
                ]
                found[way].append([rate, *costs])
                await asyncio.sleep(SETTLE_S)
    print("| | 1/s | of raw appends | server, us | worker (raw: sender), us |\n|---|---|---|---|---|")
    middle = {way: [median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (rate, of_server, own) in middle.items():
        print(f"| {way} | {rate:,.0f} | {rate / middle['raw appends'][0]:.2f} | {of_server:.0f} | {own:.0f} |")


async def main() -> None:
    """Measure on a stage of its own."""
    async with stage() as place:
        await measure(place)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(decide_nothing(sys.argv[1], msgspec.json.decode(sys.stdin.buffer.read(), type=Shape)))
    else:
        uvloop.run(main())
