"""The projector's files: changed projections, damage, complaints, and a process that is killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tagstack.adapters.duckdb_files import ReadModelFiles
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_read_models import WAITING_SHARE
from tagstack.adapters.nats_server import die_with_parent
from tagstack.application import publication
from tagstack.application.read_models import Damaged
from tagstack.domain.errors import Unavailable
from tests.integration.reading import MODELS, in_a_loop, query, reading, tagged
from tests.integration.test_projector import EVENTS, ask, client, position, projector, publish, snapshot, until

WORKER = (
    "import sys; from tagstack.apps.settings import Settings; from tagstack.apps.workers import run_worker; "
    "run_worker('projector', Settings(nats=sys.argv[1], home=sys.argv[2], http_port=0, snapshot_interval_ms=20))"
)
KILLS = 4
BLOCKS_AT = 3 * 4_096  # of a DuckDB file: its headers come before
WAITING_EVENTS_MB = 40
EVENTS_PER_KILL = 500
PUSHES = {
    "schema": "-- grain: one row per actor\nCREATE TABLE pushes (actor VARCHAR, pushes BIGINT);",
    "apply": "-- folds: image_tagged\n"
    "CREATE OR REPLACE TEMP TABLE counted AS SELECT actor, count(*) AS pushes FROM batch WHERE type = 'image_tagged' "
    "GROUP BY ALL;\nINSERT INTO pushes SELECT actor, 0 FROM counted ANTI JOIN pushes USING (actor);\n"
    "UPDATE pushes p SET pushes = p.pushes + c.pushes FROM counted c WHERE c.actor = p.actor;",
    "views": "CREATE OR REPLACE VIEW busiest AS FROM pushes ORDER BY pushes DESC;",
    "checks": "SELECT 'more pushes than events' AS complaint, actor FROM pushes "
    "WHERE pushes > (SELECT count(*) FROM events);",
}


def own(tmp_path: Path, **files: str) -> str:
    """Write a user's own read model and return the folder to be given."""
    folder = tmp_path / "own" / "pushes"
    folder.mkdir(parents=True, exist_ok=True)
    for name, sql in files.items():
        (folder / f"{name}.sql").write_text(sql)
    return str(tmp_path / "own")


def files(home: Path) -> dict[str, int]:
    """Return the names and inodes of the projector's finished files."""
    return {path.name: path.stat().st_ino for path in (home / "read-models").glob("tagstack-*.duckdb")}


@in_a_loop
async def test_a_folder_of_sql_is_a_read_model(nats_url: str, tmp_path: Path) -> None:
    """A user's own folder adds a read model with no Python; events from before it are in it."""
    home = tmp_path / "home"
    async with client(nats_url) as nc:
        await publish(nc, 1, 7)
        async with projector(nats_url, home):
            await until(lambda: position(home) == 7)
        before = files(home)
        async with projector(nats_url, home, projections=own(tmp_path, **PUSHES)) as (part, _):
            await until(lambda: part.why_not_ready() == "")
            await publish(nc, 8, 9)
            await until(lambda: position(home) == 9)
            assert query(snapshot(home), "FROM busiest") == [("ann", 9)]
            assert "pushes" in [model["name"] for model in (await ask(nc))["readModels"]]
    assert len(files(home)) == 1
    assert files(home).keys() != before.keys()


@in_a_loop
async def test_readers_see_the_old_state_until_the_new_file_is_built(nats_url: str, tmp_path: Path) -> None:
    """While changed projections are built from the log, the old snapshot stays; an interrupted build starts again."""
    home = tmp_path / "home"
    async with client(nats_url) as nc:
        await publish(nc, 1, 40)
        async with projector(nats_url, home):
            await until(lambda: position(home) == 40)
        settings = {"projections": own(tmp_path, **PUSHES), "built_batch_events_max": 1}
        async with projector(nats_url, home, **settings) as (part, _):
            await until(lambda: 0 < part.projector.position < 40)  # type: ignore[union-attr]
            assert "building read models" in part.why_not_ready()
            assert position(home) == 40
            assert query(snapshot(home), "SELECT count(*) FROM duckdb_views() WHERE view_name = 'busiest'") == [(0,)]
        assert (home / "read-models" / "building.duckdb").exists()
        async with projector(nats_url, home, **settings) as (part, _):
            await until(lambda: part.why_not_ready() == "")
        assert query(snapshot(home), "FROM busiest") == [("ann", 40)]


@in_a_loop
async def test_views_alone_need_no_rebuild(nats_url: str, tmp_path: Path) -> None:
    """A changed view is in the next snapshot of the same file, and one that was removed is gone."""
    home = tmp_path / "home"
    async with client(nats_url) as nc:
        await publish(nc, 1, 3)
        async with projector(nats_url, home, projections=own(tmp_path, **PUSHES)):
            await until(lambda: position(home) == 3)
        before = files(home)
        changed = own(tmp_path, views="CREATE OR REPLACE VIEW laziest AS FROM pushes ORDER BY pushes;")
        async with projector(nats_url, home, projections=changed):
            assert query(snapshot(home), "FROM laziest") == [("ann", 3)]
            assert query(snapshot(home), "SELECT count(*) FROM duckdb_views() WHERE view_name = 'busiest'") == [(0,)]
    assert files(home) == before


@in_a_loop
async def test_a_snapshot_that_complains_is_withheld(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers keep the last good snapshot, and log, metric and readiness say why, until the check is content.

    Seen to fail when `Publication.publish` does not look at complaints.
    """
    monkeypatch.setattr(publication, "CHECKS_SHARE", float("inf"))  # however slow the checks are on a busy machine
    check = "SELECT 'too many' AS complaint, actor FROM pushes WHERE pushes BETWEEN 4 AND 5;"
    settings = {"projections": own(tmp_path, **PUSHES | {"checks": check})}
    async with client(nats_url) as nc, projector(nats_url, tmp_path, **settings) as (part, registry):
        await publish(nc, 1, 3)
        await until(lambda: position(tmp_path) == 3)
        await publish(nc, 4, 5)
        await until(lambda: "pushes complains: too many" in part.why_not_ready())
        assert position(tmp_path) == 3
        state = await ask(nc)
        assert (state["position"] > state["snapshot"], state["complaints"]) == (
            True,
            [{"readModel": "pushes", "complaint": "too many", "detail": "ann"}],
        )
        assert (registry.get_sample_value("tagstack_projector_snapshots_refused_total") or 0) > 0
        await publish(nc, 6, 6)
        await until(lambda: position(tmp_path) == 6)
        assert part.why_not_ready() == ""


@in_a_loop
async def test_a_damaged_file_is_set_aside_and_built_anew(nats_url: str, tmp_path: Path) -> None:
    """A file that can't be read is renamed, a few are kept, and readers never see less than before.

    Seen to fail when `ReadModelFiles.open` removes a damaged file instead of moving it aside.
    """
    home = tmp_path / "home"
    async with client(nats_url) as nc:
        await publish(nc, 1, 5)
        for _ in range(4):
            async with projector(nats_url, home) as (part, _registry):
                await until(lambda part=part: position(home) == 5 and part.why_not_ready() == "")  # type: ignore[misc]
            assert query(snapshot(home), EVENTS) == [(5, 5, 5)]
            (path,) = (home / "read-models").glob("tagstack-*.duckdb")
            path.write_bytes(b"\0" * 20_000)
    assert len(list((home / "read-models").glob("damaged-*.duckdb"))) == 2


@pytest.mark.parametrize("at", [8, 4_100, 8_200, 12_300])
def test_a_damaged_block_is_noticed(tmp_path: Path, at: int) -> None:
    """A file with a wrong byte in any of its headers or its first block is set aside, and told from a locked one.

    Seen to fail when `open_file` took "block" in DuckDB's message for a lock: the projector never came up again.
    """
    files = ReadModelFiles(tmp_path, MODELS)
    models = files.create()
    models.fold([tagged(each) for each in range(1, 6)], "log")
    models.close()
    data = bytearray(models.path.read_bytes())
    data[at] ^= 0xFF
    models.path.write_bytes(data)
    assert files.open() is None
    assert list(tmp_path.glob("damaged-*"))
    files.close()


def test_a_block_that_is_damaged_meanwhile_is_noticed(tmp_path: Path) -> None:
    """What was written over while the file is open is told as damage of the file, which is then built anew.

    Seen to fail when `faults_of` lets DuckDB's base class pass, which is what a wrong checksum raises.
    """
    files = ReadModelFiles(tmp_path, MODELS)
    models = files.create()
    models.fold([tagged(each) for each in range(1, 3_000)], "log")
    models.close()
    opened = files.open()
    assert opened is not None
    with opened.path.open("r+b") as file:
        file.seek(BLOCKS_AT)
        file.write(os.urandom(opened.path.stat().st_size - BLOCKS_AT))
    with pytest.raises(Damaged, match="checksum"):
        opened.fold([tagged(each) for each in range(3_000, 3_010)], "log")
    opened.close()
    files.close()


@pytest.mark.parametrize("at", [100, 5_000, -100])
def test_a_damaged_write_ahead_log_is_noticed(tmp_path: Path, at: int) -> None:
    """One wrong byte in what a killed process left is found when the file is opened.

    Seen to fail when `ReadModelFile._connect` opens the file without a log that can't be read.
    """
    files = ReadModelFiles(tmp_path, MODELS)
    models = files.create()
    for number in range(5):
        models.fold([tagged(number * 5 + each) for each in range(1, 6)], "log")
    left, log = models.path.read_bytes(), bytearray(models.wal_path().read_bytes())
    models.close()
    models.path.write_bytes(left)
    log[at] ^= 0xFF
    models.wal_path().write_bytes(log)
    assert files.open() is None
    assert len(list(tmp_path.glob("damaged-*"))) == 2
    files.close()


@in_a_loop
async def test_one_projector_at_a_time(nats_url: str, tmp_path: Path) -> None:
    """A second projector on the same home is refused with a clear word."""
    async with projector(nats_url, tmp_path):
        with pytest.raises(Unavailable, match="another projector works in"):
            async with projector(nats_url, tmp_path):
                pass


def start_worker(url: str, home: Path) -> subprocess.Popen[bytes]:
    """Start a projector as a process of its own."""
    command = [sys.executable, "-c", WORKER, url, str(home)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)


@in_a_loop
async def test_a_projector_that_is_killed_again_and_again_loses_and_repeats_nothing(
    nats_url: str, tmp_path: Path
) -> None:
    """After kill -9 amid events the next one goes on; a reader in a loop never fails meanwhile.

    Seen to fail when `ReadModelFile._fold` stores the checkpoint in a transaction of its own, before the rows.
    """
    async with client(nats_url) as nc:
        worker = start_worker(nats_url, tmp_path)
        await until(lambda: snapshot(tmp_path).exists())
        last = KILLS * EVENTS_PER_KILL
        with reading(snapshot(tmp_path), last) as (reader,):
            for first in range(0, last, EVENTS_PER_KILL):
                publishing = asyncio.create_task(publish(nc, first + 1, first + EVENTS_PER_KILL))
                early = first + random.randrange(EVENTS_PER_KILL // 2)
                await until(lambda early=early: position(tmp_path) > early)  # type: ignore[misc]
                await asyncio.sleep(random.random() * 0.2)
                worker.kill()
                worker.wait()
                await publishing
                worker = start_worker(nats_url, tmp_path)
            await until(lambda: position(tmp_path) == last)
            out, err = await asyncio.to_thread(reader.communicate, timeout=60)
            assert (reader.returncode, err) == (0, ""), out
        told = tmp_path / "run" / "projector.json"
        await until(lambda: told.exists() and json.loads(told.read_text())["pid"] == worker.pid)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 20) == 0
    assert query(snapshot(tmp_path), EVENTS) == [(last, last, last)]
    assert query(snapshot(tmp_path), "FROM dead_letters") == []  # as what is repeated would be


def test_a_file_is_built_without_a_write_ahead_log(tmp_path: Path) -> None:
    """Its rows go into the file once they are many, not into a log, and all of them are there when it is finished.

    Seen to fail when ATTACH had no NO_WAL_WRITES, and when no checkpoint was taken before the end.
    """
    files = ReadModelFiles(tmp_path, MODELS, FileOptions(memory_mb=WAITING_EVENTS_MB))
    models = files.build()
    empty, body = models.path.stat().st_size, tagged(1).body
    events = int(WAITING_EVENTS_MB * 1e6 * WAITING_SHARE / 2 / len(body)) + 1
    models.fold([tagged(1)], "log")
    assert not models.wal_path().exists()
    models.fold([tagged(position) for position in range(2, events + 1)], "log")
    assert models.path.stat().st_size > empty
    models.fold([tagged(events + 1)], "log")
    finished = files.finish(models, None)
    assert finished.connection.execute(EVENTS).fetchall() == [(events + 1, events + 1, events + 1)]
    assert finished.connection.execute("SELECT moves FROM current_tags").fetchall() != []
    finished.close()
    files.close()


def test_a_copy_that_is_stopped_or_can_not_be_opened_leaves_nothing(tmp_path: Path) -> None:
    """What was copied of a file takes no room once that was given up.

    Seen to fail when `ReadModelFiles.copy` does not remove it.
    """
    files = ReadModelFiles(tmp_path / "files", MODELS)
    other = tmp_path / "other"
    other.write_bytes(b"no database" * 10_000)
    with pytest.raises(Unavailable, match="stopped"):
        files.copy(os.open(other, os.O_RDONLY), 1, lambda: True)
    assert [path.name for path in files.folder.iterdir()] == ["lock"]
    with pytest.raises(Damaged):
        files.copy(os.open(other, os.O_RDONLY), 1, lambda: False)
    assert [path.name for path in files.folder.iterdir()] == ["lock"]
    files.close()
