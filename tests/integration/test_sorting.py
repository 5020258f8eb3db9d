"""Sorting a file that was built: what it brings, and what happens where it ends half-way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.adapters.duckdb_files import ReadModelFiles
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.duckdb_snapshots import DuckDBSnapshots
from tagstack.adapters.nats_reader import LogSource, ReaderLimits
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.projector import Projector
from tagstack.application.read_models import Checkpoint, Observer, OutOfRoom, ProjectorOptions
from tests.integration.reading import MODELS, in_a_loop, query, tagged
from tests.integration.test_projector import EVENTS, client, position, publish, snapshot, until

ROWS = 600_000  # five groups of rows
TAGS = 60_000
MANY = f"""
INSERT INTO tag_changes BY NAME
SELECT 'prod' AS namespace, 'app-' || n // 10 AS image_stream, 'v' || n % 10 AS tag, position, 'image_tagged' AS type,
       TIMESTAMP '2026-01-01' AS time, true AS is_entry, position AS entry_position, 'image-' || position AS image
  FROM (SELECT i + 1 AS position, i * 7919 % {TAGS} AS n FROM range({ROWS}) r(i)) ORDER BY position;
INSERT INTO image_streams BY NAME
SELECT DISTINCT namespace, image_stream, 'uid' AS uid, 1 AS generation, MAP {{}} AS labels, MAP {{}} AS annotations,
       false AS lookup_local, min(time) AS created, max(time) AS updated
  FROM tag_changes GROUP BY ALL;
"""
STACK = "FROM tag_stack('prod/app-77:v3')"
# a sort that never ends, unless it is interrupted or killed
ENDLESS = "(SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i))"
SORTS = """
import sys
from pathlib import Path
from tagstack.adapters.duckdb_files import ReadModelFiles
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_opening import FileOptions
from tests.integration.reading import tagged
models = discover([builtin_folder(), Path(sys.argv[2])])
building = ReadModelFiles(Path(sys.argv[1]), models, FileOptions(sorted_rows_min=0)).build()
building.fold([tagged(number) for number in range(1, 9)], "log")
print("sorts", flush=True)
building.sort()
"""


@pytest.fixture
def building(tmp_path: Path) -> ReadModelFile:
    """A file that is being built and holds many changes."""
    models = ReadModelFile(tmp_path / "building.duckdb", MODELS, FileOptions(memory_mb=512, building=True))
    models.connection.execute(MANY)
    models.compact()
    return models


def groups_read(models: ReadModelFile, statement: str) -> tuple[int, int]:
    """Return how many groups of rows of `tag_changes` a statement reads, and how many there are."""
    ((_, plan),) = models.connection.execute(f"EXPLAIN ANALYZE {statement}").fetchall()
    scan = plan[plan.index("main.tag_changes") :]
    found = re.search(r"Row Groups Scanned:\D*(\d+)\D+(\d+)", scan)
    assert found, plan
    return int(found[1]), int(found[2])


def test_a_lookup_in_a_sorted_file_reads_few_groups_of_rows(building: ReadModelFile) -> None:
    """A tag's stack lies in one group, or over the edge of two; before, in all. The rows are the same.

    Seen to fail when `sort_table` inserts the rows without their order.
    """
    unsorted, answer = groups_read(building, STACK), building.connection.execute(STACK).fetchall()
    building.sort()
    building.compact()
    assert unsorted == (5, 5)
    assert groups_read(building, STACK)[0] <= 2
    assert building.connection.execute(STACK).fetchall() == answer
    assert len(answer) == ROWS // TAGS
    building.close()


def test_a_sorted_table_keeps_its_constraints(building: ReadModelFile) -> None:
    """What a table refuses it refuses after sorting too, else bad rows would be no dead letters."""
    schema = "SELECT sql FROM duckdb_tables() WHERE table_name = 'tag_changes'"
    before = building.connection.execute(schema).fetchall()
    building.sort()
    assert building.connection.execute(schema).fetchall() == before
    building.close()


def test_what_can_not_be_sorted_stays_as_it_is(building: ReadModelFile) -> None:
    """Without room for it that is told once, and the file is as it was; it is not taken for a sorted one.

    Seen to fail when `ReadModelFile.sort` sets the sorted position first.
    """
    building.connection.execute("SET memory_limit = '40MB'; SET max_temp_directory_size = '1MB'")
    building.checkpoint = Checkpoint(ROWS)
    with pytest.raises(OutOfRoom, match="tag_changes stays unsorted"):
        building.sort()
    building.limit_memory(512)
    building.sort()
    assert building.sorted_position == 0
    assert groups_read(building, STACK) == (5, 5)
    building.close()


def endless(tmp_path: Path) -> Path:
    """Return a user's folder with a table whose sorting never ends."""
    folder = tmp_path / "own" / "slow"
    folder.mkdir(parents=True)
    (folder / "schema.sql").write_text(f"-- sorted: slow by {ENDLESS}\nCREATE TABLE slow (position UBIGINT);")
    (folder / "apply.sql").write_text("INSERT INTO slow SELECT position FROM batch;")
    return folder.parent


def test_a_process_killed_while_sorting_builds_again(tmp_path: Path) -> None:
    """Nothing of a half-sorted file is used: the next process begins with an empty one.

    Seen to fail when `ReadModelFiles` leaves the file that is being built.
    """
    command = [sys.executable, "-c", SORTS, str(tmp_path / "files"), str(endless(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sorts\n"
        process.kill()
    files = ReadModelFiles(tmp_path / "files", MODELS)
    assert files.open() is None
    models = files.build()
    assert models.checkpoint.position == 0
    models.fold([tagged(1)], "log")
    files.finish(models, None).close()
    files.close()


@asynccontextmanager
async def projector(nc: Client, home: Path, own: list[Path]) -> AsyncIterator[Projector[ReadModelFile]]:
    """Run a projector that sorts whatever it builds."""
    options = FileOptions(sorted_rows_min=0)
    files = ReadModelFiles(home / "read-models", discover([builtin_folder(), *own]), options)
    found = Projector(files, DuckDBSnapshots(home / "live"), ProjectorOptions(snapshot_interval_s=0.02), Observer())
    await found.start(LogSource(nc, ReaderLimits(), PlainTransport(nc)))
    try:
        yield found
    finally:
        await found.stop()


@in_a_loop
async def test_events_reach_readers_while_a_file_is_sorted(nats_url: str, tmp_path: Path) -> None:
    """Sorting does not hold up the live file; a stop ends it at once, and the next start goes on with the old file.

    Seen to fail when `sort` runs in the projector's thread, and when it does not interrupt.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 5)
        async with projector(nc, tmp_path, [endless(tmp_path)]) as running:
            await until(lambda: position(tmp_path) == 5)
            running.rebuild()
            await until(lambda: (running.state()["rebuilding"] or {}).get("sorting") == "slow")
            await publish(nc, 6, 9)
            await until(lambda: position(tmp_path) == 9)
        async with projector(nc, tmp_path, [tmp_path / "own"]) as running:
            assert running.position == 9
    assert query(snapshot(tmp_path), EVENTS) == [(9, 9, 9)]


@in_a_loop
async def test_what_comes_while_a_file_is_built_and_sorted_is_in_it(nats_url: str, tmp_path: Path) -> None:
    """A rebuild sorts, follows what came meanwhile, and takes over with every event once."""
    async with client(nats_url) as nc:
        await publish(nc, 1, 20)
        async with projector(nc, tmp_path, []) as running:
            await until(lambda: position(tmp_path) == 20)
            running.rebuild()
            await publish(nc, 21, 40)
            await until(lambda: not running.rebuilding and position(tmp_path) == 40)
    assert query(snapshot(tmp_path), EVENTS) == [(40, 40, 40)]
    assert query(snapshot(tmp_path), "SELECT count(*), count(DISTINCT position) FROM tag_changes") == [(40, 40)]
