"""Measures what many readers cost the fold: `python benchmarks/readers.py [EVENTS [ROUNDS]]`.

The projector catches up with a live log: alone; while eight readers ask the SQL worker all the time; and while
eight processes ask the snapshot's file, which are analysts with tools of their own, as they are and under `nice`.
In turns, one right after the other. Prints the fold's rate, and its ratio to the rate alone of the same round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from statistics import median

import uvloop

from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_server import die_with_parent
from tagstack.adapters.nats_sql_client import Question, SqlAnswer
from tagstack.adapters.nats_streams import log_position
from tagstack.adapters.snapshot_file import NAME
from tagstack.bench.filling import fill
from tagstack.bench.history import EVENTS_PER_TAG, History
from tagstack.bench.projector import BenchProjector
from tagstack.bench.stage import Stage, stage
from tagstack.domain.errors import TagstackError

EVENTS, ROUNDS = 100_000, 5
READERS = 8
NICENESS = 10
QUESTIONS = (
    "FROM current_tags WHERE namespace = 'project-3' AND image_stream = 'app-65' AND tag = 'v7'",
    "FROM tag_stack('project-3/app-65:v7')",
    "FROM tags_as_of('2025-01-02') WHERE namespace = 'project-3'",
    "SELECT day, sum(moves) FROM churn_per_day GROUP BY day",
)
FILE_READER = f"""
import os, sys, duckdb
os.nice(int(sys.argv[2]))
while True:
    with duckdb.connect(os.path.realpath(sys.argv[1]), read_only=True, config={{"threads": 1}}) as con:
        con.execute("SET enable_progress_bar = false")
        for question in {QUESTIONS!r}:
            con.execute(question).fetchall()
"""

Company = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def over_nats(place: Stage) -> AsyncIterator[None]:
    """Let readers of different names ask the SQL worker, each the next question once it has its answer."""
    asking = [asyncio.create_task(_ask(place, f"reader-{number}")) for number in range(READERS)]
    try:
        yield
        assert not any(task.done() for task in asking), [task.exception() for task in asking if task.done()]
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _ask(place: Stage, actor: str) -> None:
    async with ServiceClient(place.server.url, actor) as client:
        while True:
            for question in QUESTIONS:
                try:
                    async with SqlAnswer(client, Question(question)) as answer:
                        async for _ in answer.rows():
                            pass
                except TagstackError as error:  # a busy worker may refuse, as it does to others
                    print(f"{actor}: {error}", file=sys.stderr)


@asynccontextmanager
async def on_the_file(place: Stage, niceness: int) -> AsyncIterator[None]:
    """Let processes of their own open the newest snapshot again and again."""
    command = [sys.executable, "-c", FILE_READER, str(place.home / "live" / NAME), str(niceness)]
    readers = [subprocess.Popen(command, preexec_fn=die_with_parent) for _ in range(READERS)]  # noqa: ASYNC220 it starts at once
    try:
        yield
        assert all(reader.poll() is None for reader in readers)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


COMPANY: dict[str, Company] = {
    "alone": lambda _: nullcontext(),
    f"{READERS} readers over NATS": over_nats,
    f"{READERS} processes on the file": partial(on_the_file, niceness=0),
    f"{READERS} processes on the file, under nice": partial(on_the_file, niceness=NICENESS),
}


async def catch_up(place: Stage, history: History, events: int, company: Company) -> float:
    """Return how many events per second reach readers while a live file catches up with the log."""
    projector = BenchProjector(place)
    await fill(place, history, events, history.tags)
    last = await log_position(place.nc)
    async with company(place):
        await place.start_worker("projector", "healthz")
        began, first = time.perf_counter(), (await projector.ask())["position"]
        await projector.caught_up()
        rate: float = (last - first) / (time.perf_counter() - began)
    place.stop_worker("projector")
    return rate


async def main(events: int, rounds: int) -> None:
    """Print a row for each kind of company."""
    rates: dict[str, list[float]] = {name: [] for name in COMPANY}
    history = History()
    async with stage() as place:
        await fill(place, history, events, events // EVENTS_PER_TAG)
        await BenchProjector(place).start()
        await place.start_worker("sql")
        place.stop_worker("projector")
        for _ in range(rounds):
            for name, company in COMPANY.items():
                rates[name].append(await catch_up(place, history, events, company))
                print(f"{name}: {rates[name][-1]:,.0f} events/s", file=sys.stderr, flush=True)
    print("| | events/s | of the rate alone |\n|---|---|---|")
    for name, found in rates.items():
        ratios = [rate / alone for rate, alone in zip(found, rates["alone"], strict=True)]
        print(f"| {name} | {median(found):,.0f} | {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    uvloop.run(main(*(given + [EVENTS, ROUNDS][len(given) :])))
