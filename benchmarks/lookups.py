"""Measures point lookups on read models of 100,000 events and more: `python benchmarks/lookups.py [EVENTS...]`.

The rows are made by set-based SQL in the real schema: in the order of the log, where every tag's rows lie
far from each other, and sorted by tag. Prints the median of warm runs on one connection.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import duckdb

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile

EVENTS_PER_TAG = 100
TAGS_PER_IMAGE_STREAM = 10
IMAGE_STREAMS_PER_NAMESPACE = 20
RUNS = 15
MEMORY_MB = 4_096

# the tag that moves at each position is scattered by a multiplication with a prime
FILL = """
CREATE TEMP TABLE moved AS
SELECT i + 1 AS position, (i * 7919) % {tags} AS number, TIMESTAMP '2025-01-01' + to_seconds(i * 60) AS time
  FROM range({events}) r(i);
INSERT INTO tag_changes
SELECT 'project-' || number // {per_namespace} AS namespace, 'app-' || number // {per_stream} AS image_stream,
       'v' || number % {per_stream} AS tag, position, time, 'image_tagged', true, position, image,
       'registry.example/app@' || image, 1, time, 'mapping', 'ci', 'merge',
       'build-' || position, NULL, NULL, NULL, NULL, NULL
  FROM (SELECT *, 'sha256:' || sha256(position::VARCHAR) AS image FROM moved) ORDER BY {order};
INSERT INTO current_tags
SELECT namespace, image_stream, tag, image, pull_spec, generation, since, actor, reason, origin, held_since, held_by,
       hold_reason, {each}, position
  FROM tag_changes WHERE position > {events} - {tags} ORDER BY position;
INSERT INTO tag_moves SELECT namespace, image_stream, tag, {each} FROM current_tags;
INSERT INTO image_streams
SELECT DISTINCT namespace, image_stream, 'uid', 1, MAP {{}}, MAP {{}}, false, TIMESTAMP '2025-01-01',
       TIMESTAMP '2025-01-01', NULL
  FROM current_tags;
"""
ORDERS = {"log": "position", "tag": "namespace, image_stream, tag, position"}
TAG = "namespace = 'project-3' AND image_stream = 'app-65' AND tag = 'v7'"
# name: statement, aim in milliseconds
LOOKUPS = {
    "current tag": (f"FROM current_tags WHERE {TAG}", 5),
    "stack of a tag": ("FROM tag_stack('project-3/app-65:v7')", 10),
    "as of, one namespace": ("FROM tags_as_of(getvariable('half')) WHERE namespace = 'project-3'", 200),
    "as of, everything": ("SELECT count(*), max(since) FROM tags_as_of(getvariable('half'))", 300),
    "where used": ("FROM where_used('sha256:' || sha256('500000'))", None),
}


def fill(path: Path, events: int, order: str) -> None:
    """Write read models that hold so many moves of tags."""
    models = ReadModelFile(path, discover([builtin_folder()]), FileOptions(memory_mb=MEMORY_MB, building=True))
    per_namespace = TAGS_PER_IMAGE_STREAM * IMAGE_STREAMS_PER_NAMESPACE
    told = {
        "order": ORDERS[order],
        "per_stream": TAGS_PER_IMAGE_STREAM,
        "per_namespace": per_namespace,
        "each": EVENTS_PER_TAG,
    }
    models.connection.execute(FILL.format(events=events, tags=events // EVENTS_PER_TAG, **told))
    models.compact()
    models.close()


def measure(path: Path, events: int) -> dict[str, float]:
    """Return the median of each lookup in milliseconds."""
    found = {}
    with duckdb.connect(str(path), read_only=True, config={"threads": 2}) as con:
        con.execute(f"SET VARIABLE half = TIMESTAMP '2025-01-01' + to_seconds({events} * 30)")
        for name, (sql, _) in LOOKUPS.items():
            times = []
            for _ in range(RUNS):
                start = time.perf_counter()
                rows = con.execute(sql).fetchall()
                times.append((time.perf_counter() - start) * 1000)
                assert rows, name
            found[name] = statistics.median(times[1:])
    return found


def main(sizes: list[int]) -> None:
    """Print a table of the lookups for some numbers of events."""
    print("| events | in the order of | " + " | ".join(LOOKUPS) + " |\n|" + "---|" * (len(LOOKUPS) + 2))
    print("| aim | | " + " | ".join(f"< {aim} ms" if aim else "" for _, aim in LOOKUPS.values()) + " |")
    for events, order in product(sizes, ORDERS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lookups.duckdb"
            fill(path, events, order)
            found = measure(path, events)
        told = " | ".join(f"{milliseconds:.1f} ms" for milliseconds in found.values())
        print(f"| {events:,} | {order} | {told} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000_000])
