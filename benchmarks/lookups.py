"""Measures lookups on read models of a million events and more: `python benchmarks/lookups.py [EVENTS...]`.

The rows are made by set-based SQL in the real schema, a tag for every ten events: in the order of the log, where
every tag's rows lie far from each other; sorted as at the end of a build; and with moves that came after that.
Prints the processor time of each step, and for each lookup the least of warm runs on one connection, since a busy
machine only ever adds to a time; in brackets the least processor time of all threads.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile

EVENTS_PER_TAG = 10
TAGS_PER_IMAGE_STREAM = 10
IMAGE_STREAMS_PER_NAMESPACE = 20
RUNS = 15
MEMORY_MB = 307  # what the projector has for a file that is being built beside a live one
STEP = 200_000  # rows filled in at once
BATCH = 20_000
LATE_SHARE = 50  # a fiftieth of the events come after the sorting

# the tag that moves at each position is scattered by a multiplication with a prime
MOVES = f"""
SELECT 'project-' || number // {TAGS_PER_IMAGE_STREAM * IMAGE_STREAMS_PER_NAMESPACE} AS namespace,
       'app-' || number // {TAGS_PER_IMAGE_STREAM} AS image_stream, 'v' || number % {TAGS_PER_IMAGE_STREAM} AS tag,
       position, time, 'image_tagged', true, position, image, 'registry.example/app@' || image, 1, time, 'mapping',
       'ci', 'merge', 'build-' || position, NULL, NULL, NULL, NULL, NULL
  FROM (SELECT i + 1 AS position, i * 7919 % {{tags}} AS number, 'sha256:' || sha256((i // 10)::VARCHAR) AS image,
               TIMESTAMP '2025-01-01' + to_seconds(i * 3) AS time
          FROM range({{first}}, {{last}}) r(i))
 ORDER BY position
"""  # noqa: S608 all of it is our own
HEADS = f"""
SELECT namespace, image_stream, tag, image, pull_spec, generation, since, actor, reason, origin, held_since, held_by,
       hold_reason, {EVENTS_PER_TAG}, position
  FROM tag_changes WHERE position > {{after}} ORDER BY position
"""  # noqa: S608 all of it is our own
STREAMS = """
INSERT INTO image_streams
SELECT DISTINCT namespace, image_stream, 'uid', 1, MAP {}, MAP {}, false, TIMESTAMP '2025-01-01',
       TIMESTAMP '2025-01-01', NULL
  FROM current_tags
"""
MOVED = """
DELETE FROM current_tags c USING (FROM tag_changes WHERE position > {after}) t
 WHERE c.namespace = t.namespace AND c.image_stream = t.image_stream AND c.tag = t.tag
"""
TAG = "namespace = 'project-3' AND image_stream = 'app-65' AND tag = 'v7'"
# name: statement, aim in milliseconds
LOOKUPS = {
    "current tag": (f"FROM current_tags WHERE {TAG}", 5),
    "stack of a tag": ("FROM tag_stack('project-3/app-65:v7')", 10),
    "as of, one namespace": ("FROM tags_as_of(getvariable('half')) WHERE namespace = 'project-3'", 200),
    "as of, everything": ("SELECT count(*), max(since) FROM tags_as_of(getvariable('half'))", 300),
    "where used": ("FROM where_used('sha256:' || sha256('50000'))", None),
}


class Made:
    """A file of read models that is being built."""

    def __init__(self, path: Path, events: int) -> None:
        self._path, self._events, self._tags = path, events, events // EVENTS_PER_TAG
        self._models = self._opened()

    def fill(self) -> None:
        """Write moves of tags in the order of the log."""
        for first in range(0, self._events, STEP):
            self._move(first, min(first + STEP, self._events))
        self._run(f"INSERT INTO current_tags {HEADS}", after=self._events - self._tags)
        self._run(STREAMS)

    def sort(self) -> None:
        """Sort as at the end of a build."""
        self._models.sort()

    def move_on(self) -> None:
        """Let more moves come, as they are folded."""
        for first in range(self._events, self._events + self._events // LATE_SHARE, BATCH):
            self._move(first, first + BATCH)
            self._run(MOVED, after=first)
            self._run(f"INSERT INTO current_tags {HEADS}", after=first)

    def measure(self) -> list[tuple[float, float]]:
        """Return the least times of each lookup, as `_least`."""
        self._models.compact()
        self._models.close()
        with duckdb.connect(str(self._path), read_only=True, config={"threads": 2}) as con:
            con.execute(f"SET VARIABLE half = TIMESTAMP '2025-01-01' + to_seconds({self._events * 3 // 2})")
            found = [_least(con, sql) for sql, _ in LOOKUPS.values()]
        self._models = self._opened()
        return found

    def _opened(self) -> ReadModelFile:
        options = FileOptions(memory_mb=MEMORY_MB, building=True)
        return ReadModelFile(self._path, discover([builtin_folder()]), options)

    def _move(self, first: int, last: int) -> None:
        self._run(f"INSERT INTO tag_changes {MOVES}", first=first, last=last, tags=self._tags)

    def _run(self, sql: str, **told: int) -> None:
        self._models.connection.execute(sql.format(**told) if told else sql)


def _least(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, float]:
    """Return the least time and the least processor time of all threads, in milliseconds."""
    found = []
    for _ in range(RUNS):
        start, busy = time.perf_counter(), time.process_time()
        assert con.execute(sql).fetchall(), sql
        found.append(((time.perf_counter() - start) * 1000, (time.process_time() - busy) * 1000))
    times, busy_times = zip(*found[1:], strict=True)
    return min(times), min(busy_times)


STEPS = {"of the log": Made.fill, "of tags": Made.sort, "of tags, and more moves since": Made.move_on}


def main(sizes: list[int]) -> None:
    """Print a table of the lookups for some numbers of events."""
    print("| events | in the order | took | MB | " + " | ".join(LOOKUPS) + " |\n|" + "---|" * (len(LOOKUPS) + 4))
    print("| aim | | | | " + " | ".join(f"< {aim} ms" if aim else "" for _, aim in LOOKUPS.values()) + " |")
    for events in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lookups.duckdb"
            made = Made(path, events)
            for order, step in STEPS.items():
                began = time.process_time()
                step(made)
                took = time.process_time() - began
                told = " | ".join(f"{least:.1f} ms ({busy:.1f})" for least, busy in made.measure())
                size = path.stat().st_size >> 20
                print(f"| {events:,} | {order} | {took:.0f} s | {size} | {told} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000_000])
