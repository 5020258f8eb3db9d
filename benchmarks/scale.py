"""Measures what a second command worker and three replicas cost: `python benchmarks/scale.py [ROUNDS]`.

Where all processes share two cores more of them can't be faster. What carries over to larger machines is the
processor time that each command costs, so that is told too. Small commands over 1,000 image streams.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from statistics import median

import uvloop

from tagstack.bench.cluster import Cluster, Replicated
from tagstack.bench.load import Sender
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, Pushes, small
from tagstack.bench.stage import Stage

COMMANDS = 20_000
STEADY = 1_000
PER_S = 500.0
IN_FLIGHT = 512
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]
Serving = AbstractAsyncContextManager[tuple[Stage, list[int]]]  # and the processes that serve it


@asynccontextmanager
async def one_worker(place: Stage) -> AsyncIterator[tuple[Stage, list[int]]]:
    """One command worker; yields the stage and the processes that serve it."""
    try:
        await place.set_up()
        await place.start_worker("commands")
        yield place, [*_servers(place), place.process_of("commands")]
    finally:
        await place.tear_down()


@asynccontextmanager
async def two_workers() -> AsyncIterator[tuple[Stage, list[int]]]:
    """One server, two command workers that share the commands."""
    async with one_worker(Stage()) as (place, processes):
        second = Stage()
        second.server = place.server
        try:
            await second.start_worker("commands")
            yield place, [*processes, second.process_of("commands")]
        finally:
            second.stop_worker("commands")
            shutil.rmtree(second.home, ignore_errors=True)


SETTINGS: dict[str, Callable[[], Serving]] = {
    "one worker": lambda: one_worker(Stage()),
    "two workers": two_workers,
    "three replicas": lambda: one_worker(Replicated()),
}


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
            async with setting() as (place, processes):
                found[name].append(await measure(place, processes))
    print("| | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
    for figure in next(iter(found.values()))[0]:
        values = [median(each[figure] for each in several) for several in found.values()]
        print(f"| {figure} | " + " | ".join(f"{value:,.4g}" for value in values) + " |")


def _servers(place: Stage) -> list[int]:
    nodes = place.server.nodes if isinstance(place.server, Cluster) else [place.server]
    return [node.process.pid for node in nodes if node.process]


def _processor_s(processes: list[int]) -> float:
    fields = (Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes)
    return sum(int(each[11]) + int(each[12]) for each in fields) * TICK_S


if __name__ == "__main__":
    uvloop.run(main(int((sys.argv[1:] or ["3"])[0])))
