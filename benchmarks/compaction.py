"""Measures a compaction on a log of a million events: `python benchmarks/compaction.py [EVENTS]`.

A projector folds the log as events come, so nothing is sorted; then it compacts; then it builds everything anew.
After each tags are looked up. All the time events come at a steady rate, and for each it is measured how long
after it was sent readers could see it. Processor times are all of the projector's, with what those events take.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import uvloop

from tagstack.adapters.nats_log import message_of
from tagstack.adapters.nats_streams import log_position
from tagstack.bench.filling import fill
from tagstack.bench.history import EVENTS_PER_TAG, History, Place
from tagstack.bench.projector import CONTROL, BenchProjector
from tagstack.bench.stage import Stage, stage

EVENTS = 1_000_000
INTERVAL_S = 0.005  # between two events
POLL_S = 0.02
QUIET_S = 15.0
LOOKUPS = 60
SEED = 7
CURRENT = "FROM current_tags WHERE namespace = ? AND image_stream = ? AND tag = ?"
STACK = "FROM tag_stack(?)"
State = dict[str, Any]


class Stream:
    """Events at a steady rate, and how long after each readers saw it."""

    def __init__(self, place: Stage, history: History, first: int) -> None:
        self._place, self._history, self._position = place, history, first
        self._sent: list[tuple[int, float]] = []
        self.late_ms: list[float] = []

    async def run(self, done: Callable[[State, float], bool]) -> None:
        """Send and look until the projector's state, or the seconds that have passed, say that it is enough."""
        projector = BenchProjector(self._place)
        began = looked = time.perf_counter()
        while True:
            for event in self._history.take(1, self._history.tags):
                message = message_of(event)
                self._place.transport.send(message.subject, message.body, "", message.headers)
                self._position += 1
                self._sent.append((self._position, time.perf_counter()))
            await asyncio.sleep(INTERVAL_S)
            if time.perf_counter() - looked < POLL_S:
                continue
            state, looked = await projector.ask(), time.perf_counter()
            self.late_ms += [(looked - sent) * 1e3 for position, sent in self._sent if position <= state["snapshot"]]
            self._sent = [each for each in self._sent if each[0] > state["snapshot"]]
            if done(state, looked - began):
                return


def busy_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lookups(path: Path, tags: int) -> str:
    """Return the median processor times of looking up current tags and stacks."""
    chosen = random.Random(SEED)  # noqa: S311 no secret
    places = [Place(chosen.randrange(tags)) for _ in range(LOOKUPS)]
    with duckdb.connect(str(path), read_only=True, config={"threads": 2}) as con:
        current = [_one(con, CURRENT, [p.image_stream.namespace, p.image_stream.name, p.tag]) for p in places]
        stacks = [_one(con, STACK, [f"{place.image_stream}:{place.tag}"]) for place in places]
    return f"{median(current):.1f} ms | {median(stacks):.1f} ms"


def _one(con: duckdb.DuckDBPyConnection, sql: str, values: list[str]) -> float:
    began = time.process_time()
    assert con.execute(sql, values).fetchall()
    return (time.process_time() - began) * 1e3


def ended(name: str) -> Callable[[State, float], bool]:
    """Return a condition that holds once what was seen to be built is there."""
    seen: list[bool] = []

    def over(state: State, _: float) -> bool:
        seen.append(state[name] is not None)
        return any(seen) and not seen[-1]

    return over


async def measure(place: Stage, events: int) -> None:
    """Print a row for each state of the read models."""
    history = History()
    await fill(place, history, events, events // EVENTS_PER_TAG)
    await place.start_worker("projector")
    projector = BenchProjector(place)
    await projector.caught_up()
    steps = (
        ("nothing sorted", "0", b"{}", lambda _, passed: passed > QUIET_S),
        ("compacted", "1", b"{}", ended("compacting")),
        ("a quiet time after that", "0", b"{}", lambda _, passed: passed > QUIET_S),
        ("rebuilt", "0", b'{"rebuild": true}', ended("rebuilding")),
    )
    for name, bound, request, done in steps:
        place.stop_worker("projector")
        place.settings = {"TAGSTACK_UNSORTED_EVENTS_MAX": bound}
        await place.start_worker("projector")
        await projector.caught_up()
        stream = Stream(place, history, await log_position(place.nc))
        pid = place.process_of("projector")
        began, busy = time.perf_counter(), busy_s(pid)
        await place.nc.request(CONTROL, request, timeout=30)
        await stream.run(done)
        await projector.caught_up()
        took, busy = time.perf_counter() - began, busy_s(pid) - busy
        late = sorted(stream.late_ms)
        told = " | ".join(f"{late[int(share * (len(late) - 1))]:.0f}" for share in (0.5, 0.99, 1))
        size, memory = place.snapshot.stat().st_size >> 20, place.memory_mb("projector")
        print(
            f"| {name} | {took:.0f} s | {busy:.1f} s | {told} | {size} | {memory:.0f} | "
            f"{lookups(place.snapshot, history.tags)} |",
            flush=True,
        )


async def main(events: int) -> None:
    """Print a table."""
    print("| read models | took | processor | ms late, p50 | p99 | most | file MB | memory MB | current tag | stack |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    async with stage() as place:
        await measure(place, events)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
