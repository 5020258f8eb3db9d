"""Compaction: tables are sorted anew by themselves, beside a live file that goes on, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError

from tagstack.adapters.duckdb_files import ReadModelFiles
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.duckdb_snapshots import DuckDBSnapshots
from tagstack.adapters.nats_reader import LogSource, ReaderLimits
from tagstack.adapters.nats_server import die_with_parent
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.building import NICENESS
from tagstack.application.projector import Projector
from tagstack.application.read_models import Observer, ProjectorOptions
from tagstack.apps import verify
from tests.integration import test_projector
from tests.integration.reading import in_a_loop, query, reading
from tests.integration.test_projector import EVENTS, WAIT_S, ask, client, position, publish, snapshot, until
from tests.integration.test_sorting import endless
from tests.logs import do_everything, shown, worker

UNSORTED_MAX = 20
EVENTS_MEANWHILE = 2_000
SORTED_ROWS = FileOptions().sorted_rows_min
# a projector that sorts however few rows there are, in a process of its own: HOME, URL, folder of projections
WORKER = """
import asyncio, sys
from pathlib import Path
import nats
from tests.integration.test_compaction import projector
async def run():
    nc = await nats.connect(sys.argv[2])
    async with projector(nc, Path(sys.argv[1]), Path(sys.argv[3])) as running:
        while (running.state()["compacting"] or {}).get("sorting") != "slow":
            await asyncio.sleep(0.02)
        print("sorts", flush=True)
        await asyncio.sleep(60)
asyncio.run(run())
"""


@asynccontextmanager
async def projector(
    nc: Client, home: Path, own: Path | None = None, unsorted_events_max: int = UNSORTED_MAX
) -> AsyncIterator[Projector[ReadModelFile]]:
    """Run a projector that sorts however few rows there are."""
    folders = [builtin_folder(), *([own] if own else [])]
    files = ReadModelFiles(home / "read-models", discover(folders), FileOptions(sorted_rows_min=0))
    options = ProjectorOptions(
        snapshot_interval_s=0.02, unsorted_events_max=unsorted_events_max, compaction_retry_interval_s=0.02
    )
    found = Projector(files, DuckDBSnapshots(home / "live"), options, Observer())
    await found.start(LogSource(nc, ReaderLimits(), PlainTransport(nc)))
    try:
        yield found
    finally:
        await found.stop()


def file(home: Path) -> int:
    """Return the inode of the projector's finished file."""
    (found,) = (home / "read-models").glob("tagstack-*.duckdb")
    return found.stat().st_ino


def answers(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table and view, and of lookups of one tag, as readers see them, in one order."""
    names = query(snapshot(home), "SELECT table_name FROM information_schema.tables WHERE table_name <> 'checkpoint'")
    asked = [name for (name,) in names] + ["tag_stack('prod/api:v7')", "tags_as_of('2027-01-01')"]
    return {name: query(snapshot(home), f"FROM {name} ORDER BY ALL") for name in asked}


def priorities() -> list[int]:
    """Return the niceness of each thread of this process."""
    return [os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in Path("/proc/self/task").iterdir()]


def scattered(home: Path) -> int:
    """Return how many rows of `tag_changes` come before one that is to stand before them."""
    ((found,),) = query(
        snapshot(home),
        "SELECT count(*) FROM (SELECT (tag, position) < lag((tag, position)) OVER (ORDER BY rowid) AS late "
        "FROM tag_changes) WHERE late",
    )
    return int(found)


def kill_while_sorting(*arguments: str) -> None:
    """Start a projector in a process of its own, and kill it once it sorts a copy."""
    command = [sys.executable, "-c", WORKER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sorts\n"
        process.kill()


def start_worker(settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a real projector with these settings."""
    command = [sys.executable, "-m", "tagstack", "worker", "projector"]
    return subprocess.Popen(command, env=os.environ | settings, preexec_fn=die_with_parent)


async def sorts(nc: Client) -> bool:
    """Return whether the projector sorts the table that never ends."""
    try:
        return ((await ask(nc))["compacting"] or {}).get("sorting") == "slow"
    except NoRespondersError:
        return False


@in_a_loop
async def test_what_came_unsorted_is_sorted_by_itself(nats_url: str, tmp_path: Path) -> None:
    """Over the bound the tables are sorted, and every relation answers as before.

    Seen to fail when `_keep_sorted` begins nothing, and when `_build` does not sort.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 200)
        async with projector(nc, tmp_path, unsorted_events_max=0) as running:
            await until(lambda: position(tmp_path) == 200)
            assert running.unsorted == 200
        before, old = answers(tmp_path), file(tmp_path)
        assert scattered(tmp_path) > 0
        async with projector(nc, tmp_path) as running:
            await until(lambda: running.unsorted == 0 and file(tmp_path) != old)
            await until(lambda: scattered(tmp_path) == 0 and not running.compacting)
            assert answers(tmp_path) == before
        assert len(list((tmp_path / "read-models").glob("*.duckdb"))) == 1


@in_a_loop
async def test_who_waits_for_a_build_does_not_wait_for_the_sorting(nats_url: str, tmp_path: Path) -> None:
    """Without a live file readers see the new one as soon as it has everything; a compaction sorts it then.

    Seen to fail when `_build` sorts first.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 5)
        async with projector(nc, tmp_path, unsorted_events_max=0):
            await until(lambda: position(tmp_path) == 5)
        await publish(nc, 6, 30)
        async with projector(nc, tmp_path, endless(tmp_path)) as running:  # changed projections: a new file
            await until(lambda: position(tmp_path) == 30)
            await until(lambda: (running.state()["compacting"] or {}).get("sorting") == "slow")


@in_a_loop
async def test_a_build_sorts_where_no_compaction_will(nats_url: str, tmp_path: Path) -> None:
    """With compactions switched off a file is sorted before readers see it.

    Seen to fail when `_build` leaves the sorting to a compaction whatever is set.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 200)
        async with projector(nc, tmp_path, unsorted_events_max=0):
            await until(lambda: position(tmp_path) == 200)
        for path in (tmp_path / "read-models").glob("tagstack-*"):
            path.unlink()
        async with projector(nc, tmp_path, unsorted_events_max=0) as running:
            await until(lambda: running.why_not_ready() == "")
            assert running.unsorted == 0
        assert scattered(tmp_path) == 0


@in_a_loop
async def test_every_kind_of_event_is_as_the_log_says_after_a_compaction(nats_url: str, tmp_path: Path) -> None:
    """What was sorted and what came after it equal Python's fold of the same log, in every relation.

    Seen to fail when `sort_table` leaves out the first row.
    """
    async with worker(nats_url) as nc:
        await do_everything(nc)
        async with projector(nc, tmp_path, unsorted_events_max=1) as running:
            await until(lambda: running.position > 0 and running.unsorted == 0 and not running.compacting)
            await do_everything(nc, "test")
            await shown(nc, snapshot(tmp_path))
            verifier = verify.Verifier()
            await verifier.log(nc, snapshot(tmp_path))
            assert verifier.report().complaints == []


@in_a_loop
async def test_how_much_is_unsorted_is_told_and_outlives_a_restart(nats_url: str, tmp_path: Path) -> None:
    """The control answer and the metrics count what came since the last compaction, after a restart too.

    Seen to fail when `ReadModelFile.sort` keeps the position in memory only.
    """
    count = "tagstack_projector_unsorted_events"
    async with client(nats_url) as nc:
        settings: dict[str, Any] = {"unsorted_events_max": UNSORTED_MAX}
        async with test_projector.projector(nats_url, tmp_path, **settings) as (part, registry):
            running = part.projector
            assert running is not None
            await publish(nc, 1, UNSORTED_MAX)
            await until(lambda: running.unsorted == 0 and running.position == UNSORTED_MAX and not running.compacting)
            await publish(nc, UNSORTED_MAX + 1, UNSORTED_MAX + 7)
            await until(lambda: position(tmp_path) == UNSORTED_MAX + 7)
            assert (await ask(nc))["unsorted"] == 7
            assert registry.get_sample_value(count) == 7
        async with test_projector.projector(nats_url, tmp_path, **settings) as (_, registry):
            state = await ask(nc)
            assert (state["unsorted"], state["compacting"], state["compactionWaits"]) == (7, None, "")
            assert registry.get_sample_value(count) == 7


@in_a_loop
async def test_events_reach_readers_while_a_copy_is_sorted(nats_url: str, tmp_path: Path) -> None:
    """A compaction does not hold up the live file; a stop ends it at once and leaves nothing of it.

    Seen to fail when the copy is sorted in the projector's thread, when a stop does not interrupt it, and when the
    thread does not give way.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 30)
        async with projector(nc, tmp_path, endless(tmp_path)) as running:
            await until(lambda: (running.state()["compacting"] or {}).get("sorting") == "slow")
            await publish(nc, 31, 40)
            await until(lambda: position(tmp_path) == 40)
            assert (running.unsorted, running.why_not_ready()) == (40, "")
            assert sys.platform != "linux" or sorted(set(priorities())) == [os.nice(0), min(os.nice(0) + NICENESS, 19)]
        assert len(list((tmp_path / "read-models").glob("*.duckdb"))) == 1
    assert query(snapshot(tmp_path), EVENTS) == [(40, 40, 40)]


@in_a_loop
async def test_events_that_come_during_compactions_are_there_once(nats_url: str, tmp_path: Path) -> None:
    """However a copy and the switch fall among the events, none is lost or folded twice, and no reader goes back.

    Seen to fail when `_switch` does not let the copy catch up with the live file.
    """
    async with client(nats_url) as nc, projector(nc, tmp_path, unsorted_events_max=1) as running:
        await until(lambda: position(tmp_path) == 0)
        first = file(tmp_path)
        with reading(snapshot(tmp_path), EVENTS_MEANWHILE) as (reader,):
            await publish(nc, 1, EVENTS_MEANWHILE)
            out, err = await asyncio.to_thread(reader.communicate, timeout=60)
            assert (reader.returncode, err) == (0, ""), out
        await until(lambda: not running.compacting)
        assert file(tmp_path) != first
    assert query(snapshot(tmp_path), EVENTS) == [(EVENTS_MEANWHILE,) * 3]
    assert query(snapshot(tmp_path), "SELECT count(*), count(DISTINCT position) FROM tag_changes") == [
        (EVENTS_MEANWHILE, EVENTS_MEANWHILE)
    ]


@in_a_loop
async def test_a_compaction_gives_way_to_a_rebuild(nats_url: str, tmp_path: Path) -> None:
    """Never are two files built at once: who asks for a rebuild gets it, and the copy is given up.

    Seen to fail when `_gives_way` does not look for a rebuild.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 30)
        async with projector(nc, tmp_path, endless(tmp_path)) as running:
            await until(lambda: (running.state()["compacting"] or {}).get("sorting") == "slow")
            running.rebuild()
            await until(lambda: (running.state()["rebuilding"] or {}).get("sorting") == "slow")
            assert running.state()["compacting"] is None


@in_a_loop
async def test_a_worker_that_is_to_stop_while_it_sorts_ends_in_order(nats_url: str, tmp_path: Path) -> None:
    """SIGTERM ends a real worker amid a compaction, long before it would have to be killed.

    Seen to fail when a stop does not interrupt the sorting.
    """
    own, home = endless(tmp_path), tmp_path / "home"
    (own / "slow" / "apply.sql").write_text(f"INSERT INTO slow SELECT i FROM batch, range({SORTED_ROWS}) r(i);")
    settings = {"NATS": nats_url, "HOME": home, "PROJECTIONS": own, "UNSORTED_EVENTS_MAX": 1, "HTTP_PORT": 0}
    async with client(nats_url) as nc:
        await publish(nc, 1, 1)
        process = start_worker({f"TAGSTACK_{name}": str(value) for name, value in settings.items()})
        async with asyncio.timeout(WAIT_S):
            while not await sorts(nc):  # noqa: ASYNC110 what is waited for happens in another process
                await asyncio.sleep(0.05)
        process.terminate()
        assert await asyncio.to_thread(process.wait, WAIT_S) == 0
    assert [path.name for path in (home / "read-models").glob("building*")] == []
    assert position(home) == 1


@in_a_loop
async def test_a_process_killed_while_a_copy_is_sorted_goes_on(nats_url: str, tmp_path: Path) -> None:
    """After kill -9 the live file is the one before, and the copy is gone; what comes next is folded once.

    Seen to fail when `ReadModelFiles` leaves the file that was being built.
    """
    async with client(nats_url) as nc:
        await publish(nc, 1, 30)
        await asyncio.to_thread(kill_while_sorting, str(tmp_path / "home"), nats_url, str(endless(tmp_path)))
        folder = tmp_path / "home" / "read-models"
        assert (folder / "building.duckdb").exists()
        async with projector(nc, tmp_path / "home", tmp_path / "own", unsorted_events_max=0) as running:
            assert (running.position, running.unsorted) == (30, 30)
            assert not list(folder.glob("building*"))
            await publish(nc, 31, 40)
            await until(lambda: position(tmp_path / "home") == 40)
    assert query(snapshot(tmp_path / "home"), EVENTS) == [(40, 40, 40)]
