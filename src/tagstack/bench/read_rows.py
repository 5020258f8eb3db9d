"""The read path: how soon SQL sees a push, how fast the projector folds what the log holds, and lookups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from tagstack.adapters.nats_reader import LogSource
from tagstack.adapters.nats_streams import log_position
from tagstack.bench.feed import pass_by, until_learned
from tagstack.bench.figures import Row, Wanted, side_by_side
from tagstack.bench.filling import fill
from tagstack.bench.history import EVENTS_PER_TAG, History
from tagstack.bench.load import Load, Sender, Sent
from tagstack.bench.lookups import Lookups
from tagstack.bench.projector import POLL_S, BenchProjector, Built
from tagstack.bench.requests import IMAGE_STREAMS, Pushes
from tagstack.bench.sizes import Sizes
from tagstack.bench.stage import Stage
from tagstack.domain.errors import Unavailable

PER_S = 1_000.0
READ_WAIT_S = 5.0
WATCH_TIMEOUT_S = 600.0
STACKS = 20
LONG = 10_000_000  # events from which on building the read models is called a rebuild, with an aim of its own


class _Details(msgspec.Struct):
    position: int


class _Reply(msgspec.Struct):
    details: _Details


class ReadPath:
    """Measures the rows of the read path on one stage, with a log that becomes longer."""

    def __init__(self, stage: Stage, sizes: Sizes) -> None:
        self._stage = stage
        self._sizes = sizes
        self._projector = BenchProjector(stage)
        self._history = History()
        self._fresh = Pushes([f"fresh{number}" for number in range(IMAGE_STREAMS)])
        self._wanted = 0  # the last position that a snapshot has to show; 0 while it is not known

    def parts(self, events: int) -> list[tuple[str, Callable[[], Awaitable[list[Row]]]]]:
        """Return what is measured with a log of about so many events."""
        length = _length(events)
        return [
            (f"filling the log, {length}", partial(self.fill, events)),
            (f"projector, {length}", partial(self.catch_up, events)),
            (f"SQL freshness, {length}", partial(self.freshness, events)),
            (f"lookups, {length}", partial(self.lookups, events)),
        ]

    async def fill(self, events: int) -> list[Row]:
        """Store a history until the log is so long; the projector has shown readers something before.

        The command worker that runs meanwhile is one that has followed the log until now.
        """
        if not self._history.events:
            await self._projector.start()
        for worker in ("projector", "commands"):
            self._stage.stop_worker(worker)
        missing = events - await log_position(self._stage.nc)
        await fill(self._stage, self._history, missing, events // EVENTS_PER_TAG)
        await pass_by(self._stage)
        await self._stage.start_worker("commands")
        sender = await Sender(self._stage.transport).start()
        await sender.crowd(self._fresh.take(1), 1)
        await until_learned(self._stage)
        return []

    async def catch_up(self, events: int) -> list[Row]:
        """All stored events folded into all read models, beside reading them with the same pull."""
        built: list[Built] = []
        sorting_s: list[float] = []

        async def fold() -> float:
            built.append(await self._projector.build())
            sorting_s.append(await self._projector.until_sorted())  # not beside the drain
            return built[-1].rate

        times = self._sizes.folds if events < LONG else 1
        pairs = await side_by_side(fold, self._drained, times)
        length, rates = _length(events), [mine for mine, _ in pairs]
        rows = [
            Wanted(f"projector catch-up beside draining the log, {length}", "1/s", 0.7).row(pairs),
            Wanted(f"projector catch-up, {length}", "1/s", 60_000.0).alone(rates),
        ]
        if events >= LONG:
            rows.append(Wanted(f"rebuild, {length}", "s", 120.0, "lower").alone([each.seconds for each in built]))
        rows.append(Wanted(f"sorting the tables afterwards, {length}", "s", None, "lower").alone(sorting_s))
        memory = Wanted(f"projector memory, at most, {length}", "MB", 1_024.0, "lower")
        return [*rows, memory.alone([max(each.memory_mb for each in built)])]

    async def freshness(self, events: int) -> list[Row]:
        """From a command's reply to a snapshot that shows it, at a steady rate."""
        await self._projector.caught_up()
        replies: list[tuple[float, int]] = []
        decoder = msgspec.json.Decoder(_Reply)

        def answered(_: Sent, body: bytes) -> None:
            replies.append((time.perf_counter(), decoder.decode(body).details.position))

        sender = await Sender(self._stage.transport, answered).start()
        found = []
        for _ in range(self._sizes.times):
            replies.clear()
            self._wanted = 0
            watching = asyncio.create_task(self._watch())
            await sender.steady(self._fresh.take(int(PER_S * self._sizes.steady_s)), PER_S)
            self._wanted = max(position for _, position in replies)
            found.append(_late(replies, await watching).percentile(0.99))
        name = f"SQL freshness after the reply at 1000/s, p99, {_length(events)}"
        return [Wanted(name, "ms", 1_000.0, "lower").alone(found)]

    async def lookups(self, events: int) -> list[Row]:
        """The current tag and a tag's stack, from the log and in DuckDB."""
        looking = Lookups(self._stage, self._history.tags, self._sizes.lookups)
        log, duckdb, stacks, past = list[float](), list[float](), list[float](), list[float]()
        for _ in range(self._sizes.times):
            log.append((await looking.by_direct_get()).percentile(0.5))
            duckdb.append((await asyncio.to_thread(looking.in_duckdb)).percentile(0.5))
            stacks.append((await asyncio.to_thread(looking.stacks, STACKS)).percentile(0.5))
            past.append((await looking.stacks_from_log(STACKS)).percentile(0.5))
        name = f"current tag by direct get beside DuckDB, p50, {_length(events)}"
        current = Wanted(name, "ms", 1.0, "lower").row(list(zip(log, duckdb, strict=True)))
        of_log = Wanted(f"a tag's stack from the log, p50, {_length(events)}", "ms", 5.0, "lower").alone(past)
        return [
            current,
            of_log,
            Wanted(f"a tag's stack in DuckDB, p50, {_length(events)}", "ms", 5.0, "lower").alone(stacks),
        ]

    async def _drained(self) -> float:
        events = await log_position(self._stage.nc)
        source = LogSource(self._stage.nc, transport=self._stage.transport)
        await source.identity(0)
        began = time.perf_counter()
        reader = await source.read(0)
        try:
            while True:
                messages = await reader.take(READ_WAIT_S)
                if not messages:
                    raise Unavailable(f"the log gave nothing within {READ_WAIT_S} s")
                if messages[-1].position >= events:
                    return events / (time.perf_counter() - began)
        finally:
            await reader.stop()

    async def _watch(self) -> list[tuple[float, int]]:
        """Return when which position was in the snapshot, up to the one that is wanted."""
        seen: list[tuple[float, int]] = []
        async with asyncio.timeout(WATCH_TIMEOUT_S):
            while not self._wanted or seen[-1][1] < self._wanted:
                seen.append((time.perf_counter(), int((await self._projector.ask())["snapshot"])))
                await asyncio.sleep(POLL_S)
        return seen


def _late(replies: list[tuple[float, int]], seen: list[tuple[float, int]]) -> Load:
    """Return how long after each reply, in ms, its position was seen; both lists rise."""
    late, at = list[float](), 0
    for moment, position in sorted(replies, key=lambda reply: reply[1]):
        while seen[at][1] < position:
            at += 1
        late.append(max(0.0, (seen[at][0] - moment) * 1e3))
    return Load(1.0, late)


def _length(events: int) -> str:
    """Return the length of a log, as it is called in the figures' names."""
    return f"{events / 1e6:g}M events"
