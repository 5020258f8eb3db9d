"""Point lookups: the current tag from the log itself, beside DuckDB; a tag's stack."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import duckdb

from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_subjects import tag_events
from tagstack.bench.history import Place
from tagstack.bench.load import Load
from tagstack.bench.stage import Stage

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
        latencies = []
        began = time.perf_counter()
        for place in self._places:
            start = time.perf_counter()
            assert await direct.last(tag_events(place.image_stream, place.tag)) is not None
            latencies.append((time.perf_counter() - start) * 1e3)
        return Load(time.perf_counter() - began, latencies)

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
