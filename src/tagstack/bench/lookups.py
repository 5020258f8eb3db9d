"""Point lookups: the current tag and a tag's stack, each from the log itself and in DuckDB."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence

import duckdb

from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_streams import log_position
from tagstack.adapters.nats_subjects import tag_events
from tagstack.bench.history import Place
from tagstack.bench.load import Load
from tagstack.bench.stage import Stage
from tagstack.domain import stack

THREADS = 2
SEED = 7
CURRENT = "FROM current_tags WHERE namespace = ? AND image_stream = ? AND tag = ?"
STACK = "FROM tag_stack(?)"


class Lookups:
    """Looks up tags of the history, the same ones every time."""

    def __init__(self, stage: Stage, tags: int, count: int) -> None:
        self._stage = stage
        chosen = random.Random(SEED)  # noqa: S311 no secret
        self._places = [Place(chosen.randrange(tags)) for _ in range(count)]

    async def by_direct_get(self) -> Load:
        """Return the latencies of the last event of a tag, read from the log."""
        direct = await DirectGet(self._stage.nc).start()
        return await _asked(self._places, lambda place: direct.last(tag_events(place.image_stream, place.tag)))

    async def stacks_from_log(self, count: int) -> Load:
        """Return the latencies of whole stacks of tags, read from the log and folded, as a rollback needs them."""
        log, last = await self._log()

        async def stack_of(place: Place) -> list[stack.Entry]:
            return stack.fold(await log.history(place.image_stream, place.tag, last))

        return await _asked(self._places[:count], stack_of)

    async def image_streams_from_log(self, count: int) -> Load:
        """Return the latencies of the stacks of all tags of image streams, read as `stacks_from_log`."""
        log, last = await self._log()

        async def stacks_of(place: Place) -> dict[str, list[stack.Entry]]:
            return stack.fold_tags(await log.history(place.image_stream, None, last))

        return await _asked(self._places[:count], stacks_of)

    async def _log(self) -> tuple[NatsLog, int]:
        return await NatsLog(self._stage.nc, self._stage.transport).start(), await log_position(self._stage.nc)

    def in_duckdb(self) -> Load:
        """Return the latencies of a tag's row, read from a snapshot over an open connection."""
        return self._queried(
            CURRENT, lambda place: [place.image_stream.namespace, place.image_stream.name, place.tag], len(self._places)
        )

    def stacks(self, count: int) -> Load:
        """Return the latencies of whole stacks of tags, read as `in_duckdb`."""
        return self._queried(STACK, lambda place: [f"{place.image_stream}:{place.tag}"], count)

    def _queried(self, sql: str, arguments: Callable[[Place], list[str]], count: int) -> Load:
        latencies = []
        began = time.perf_counter()
        with duckdb.connect(str(self._stage.snapshot), read_only=True, config={"threads": THREADS}) as con:
            for place in self._places[:count]:
                start = time.perf_counter()
                assert con.execute(sql, arguments(place)).fetchall()
                latencies.append((time.perf_counter() - start) * 1e3)
        return Load(time.perf_counter() - began, latencies)


async def _asked(places: Sequence[Place], ask: Callable[[Place], Awaitable[object]]) -> Load:
    latencies = []
    began = time.perf_counter()
    for place in places:
        start = time.perf_counter()
        assert await ask(place)
        latencies.append((time.perf_counter() - start) * 1e3)
    return Load(time.perf_counter() - began, latencies)
