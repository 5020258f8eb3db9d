"""Measures what a second command worker and three replicas cost: `python benchmarks/scale.py [ROUNDS]`.

Where all processes share two cores more of them can't be faster. What carries over to larger machines is the
processor time that each command costs, so that is told too. Small commands over 1,000 image streams.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import uvloop
from nats.aio.client import Client

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import jetstream
from tagstack.bench.load import Sender
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, Pushes, small
from tagstack.bench.stage import Stage
from tagstack.domain.errors import Unavailable

NODES = 3
COMMANDS = 20_000
STEADY = 1_000
PER_S = 500.0
IN_FLIGHT = 512
LEADER_TIMEOUT_S = 30.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


class Cluster(NatsServer):
    """Three nodes on loopback, used as one server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = _free_ports(NODES)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.nodes = []
        for number, port in enumerate(ports):
            told = f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
            options = ServerOptions(extra=f"server_name: n{number}\n{told}")
            self.nodes.append(NatsServer(folder / f"n{number}", options))

    def start(self) -> Cluster:
        """Start every node and wait until they have chosen who leads."""
        for node in self.nodes:
            node.start()
        self.url = ",".join(node.url for node in self.nodes)
        self.process = self.nodes[0].process
        asyncio.run(_leader(self.nodes[0].url))
        return self

    def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            node.stop()


class Replicated(Stage):
    """A stage on a cluster, each stream on all of its nodes."""

    replicas = NODES

    def __init__(self) -> None:
        super().__init__()
        self.server: Cluster = Cluster(self.home / "nats")


@asynccontextmanager
async def one_worker() -> AsyncIterator[tuple[Stage, list[int]]]:
    """One server, one command worker; yields the stage and the processes that serve it."""
    place = Stage()
    try:
        await place.set_up()
        await place.start_worker("commands")
        yield place, [*_servers(place), place.process_of("commands")]
    finally:
        await place.tear_down()


@asynccontextmanager
async def two_workers() -> AsyncIterator[tuple[Stage, list[int]]]:
    """One server, two command workers that share the commands, nobody owning an image stream."""
    async with one_worker() as (place, processes):
        second = Stage()
        second.server = place.server
        try:
            await second.start_worker("commands")
            yield place, [*processes, second.process_of("commands")]
        finally:
            second.stop_worker("commands")
            shutil.rmtree(second.home, ignore_errors=True)


@asynccontextmanager
async def three_replicas() -> AsyncIterator[tuple[Stage, list[int]]]:
    """Three servers, each stream on all of them, one command worker."""
    place = Replicated()
    try:
        await place.set_up()
        await place.start_worker("commands")
        yield place, [*_servers(place), place.process_of("commands")]
    finally:
        await place.tear_down()


SETTINGS = {"one worker": one_worker, "two workers": two_workers, "three replicas": three_replicas}


async def measure(place: Stage, processes: list[int]) -> Figures:
    """Return commands per second, their cost and the reply latency of a steady rate."""
    sender = await Sender(place.transport).start()
    pushes = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])
    await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
    await sender.crowd(pushes.take(4 * IMAGE_STREAMS), IN_FLIGHT)
    before = _processor_s(processes)
    load = await sender.crowd(pushes.take(COMMANDS), IN_FLIGHT)
    cost = (_processor_s(processes) - before) / COMMANDS * 1e6
    steady = await sender.steady(pushes.take(STEADY), PER_S)
    return {
        "commands/s, 512 in flight": load.rate,
        "processor time of servers and workers, us per command": cost,
        "reply p50 at 500/s, ms": steady.percentile(0.5),
        "reply p99 at 500/s, ms": steady.percentile(0.99),
    }


async def main(rounds: int) -> None:
    """Measure every setting in turns and print the medians."""
    found: dict[str, list[Figures]] = {name: [] for name in SETTINGS}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, setting in SETTINGS.items():
            async with AsyncExitStack() as stack:
                found[name].append(await measure(*await stack.enter_async_context(setting())))
    print("| | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
    for figure in next(iter(found.values()))[0]:
        values = [median(each[figure] for each in several) for several in found.values()]
        print(f"| {figure} | " + " | ".join(f"{value:,.4g}" for value in values) + " |")


async def _leader(url: str) -> None:
    nc = await connect(url, "tagstack-bench-cluster", patient=False)
    try:
        async with asyncio.timeout(LEADER_TIMEOUT_S):
            while not await _leads(nc):  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(0.1)
    finally:
        await nc.close()


async def _leads(nc: Client) -> bool:
    try:
        return "error" not in await jetstream(nc, "INFO")
    except Unavailable:
        return False


def _servers(place: Stage) -> list[int]:
    nodes = place.server.nodes if isinstance(place.server, Cluster) else [place.server]
    return [node.process.pid for node in nodes if node.process]


def _processor_s(processes: list[int]) -> float:
    fields = (Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes)
    return sum(int(each[11]) + int(each[12]) for each in fields) * TICK_S


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    uvloop.run(main(int((sys.argv[1:] or ["3"])[0])))
