"""Snapshots: any DuckDB client opens `live/tagstack.duckdb` at any moment and sees one whole state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.duckdb_snapshots import DuckDBSnapshots, SnapshotLimits
from tests.integration.reading import MODELS, query, reading, tagged

POSITION = "SELECT position FROM checkpoint"
TINY = SnapshotLimits(kept_max=3, grace_s=1.0, wal_bytes_min=20_000, wal_bytes_max=20_000)


def opened(home: Path) -> ReadModelFile:
    """Return the read models of a home."""
    return ReadModelFile(home / "read-models" / "tagstack.duckdb", MODELS)


def test_readers_never_fail_and_never_see_a_mix(tmp_path: Path) -> None:
    """Processes that open the path in a loop see whole states, rising, while bases and logs are switched.

    Seen to fail when `DuckDBSnapshots._publish` shows the file itself instead of a copy.
    """
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live", TINY)
    assert snapshots.publish(models)
    batches, size = 40, 20
    with reading(tmp_path / "live" / "tagstack.duckdb", batches * size, readers=2) as readers:
        for batch in range(batches):
            models.fold([tagged(batch * size + number) for number in range(1, size + 1)], "log")
            snapshots.publish(models)
        while not snapshots.publish(models):
            continue
        for reader in readers:
            out, err = reader.communicate(timeout=60)
            assert (reader.returncode, err) == (0, "")
            assert int(out) > 5
    snapshots.close()


def test_there_is_a_snapshot_at_every_moment(tmp_path: Path) -> None:
    """Between two snapshots there is no moment without one, however closely one looks.

    Seen to fail when `DuckDBSnapshots._switch` removes the link two milliseconds before the new one takes its place.
    """
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    snapshots.publish(models)
    missing, published = 0, threading.Event()

    def look() -> None:
        nonlocal missing
        while not published.is_set():
            missing += not os.path.lexists(tmp_path / "live")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert all(snapshots.publish(models) for _ in range(60))
    finally:
        published.set()
        watcher.join()
        snapshots.close()
    assert missing == 0


def test_a_snapshot_holds_the_position_and_shows_a_new_path(tmp_path: Path) -> None:
    """What was folded is in the snapshot that was published, under another real path than before."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    assert not snapshots.exists()
    seen = set()
    for position in range(5):
        models.fold([tagged(position)], "log")
        assert snapshots.publish(models)
        seen.add((tmp_path / "live" / "tagstack.duckdb").resolve(strict=True))
        assert query(tmp_path / "live" / "tagstack.duckdb", POSITION) == [(position,)]
    assert len(seen) == 5


def test_publishing_copies_only_what_is_new(tmp_path: Path) -> None:
    """Snapshots of one base are the same file on disk: a big file is not copied for a few events."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    files = set()
    for position in range(1, 6):
        models.fold([tagged(position)], "log")
        snapshots.publish(models)
        files.add((tmp_path / "live" / "tagstack.duckdb").resolve(strict=True).stat().st_ino)
    assert len(files) == 1


def test_old_snapshots_are_pruned(tmp_path: Path) -> None:
    """As many snapshots stay as are to be kept, and a reader that has an old one open keeps it."""
    models = opened(tmp_path)
    snapshots = DuckDBSnapshots(tmp_path / "live", SnapshotLimits(kept_max=2, grace_s=0.0, wal_bytes_min=1))
    models.fold([tagged(1)], "log")
    snapshots.publish(models)
    with duckdb.connect(str(tmp_path / "live" / "tagstack.duckdb"), read_only=True) as reader:
        for position in range(2, 30):
            models.fold([tagged(position)], "log")
            snapshots.publish(models)
        assert len(list((tmp_path / "snapshots").iterdir())) <= 3  # one may be a base in the making
        assert reader.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    snapshots.close()


def test_a_snapshot_that_can_not_be_read_is_not_shown(tmp_path: Path) -> None:
    """Readers keep the last good snapshot, and the next one starts from a new copy."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    models.fold([tagged(1)], "log")
    assert snapshots.publish(models)
    models.fold([tagged(2)], "log")
    wal = models.wal_path()
    stored = wal.read_bytes()
    spoilt = bytearray(stored)
    spoilt[-30] ^= 0xFF
    wal.write_bytes(bytes(spoilt))
    assert not snapshots.publish(models)
    assert query(tmp_path / "live" / "tagstack.duckdb", POSITION) == [(1,)]
    assert snapshots.unreadable == 1  # counted, and logged
    wal.write_bytes(stored)
    assert snapshots.publish(models)
    assert query(tmp_path / "live" / "tagstack.duckdb", POSITION) == [(2,)]


def test_another_process_takes_over(tmp_path: Path) -> None:
    """The snapshot of a projector that is gone stays until the next one's, and its leftovers go."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    models.fold([tagged(1)], "log")
    snapshots.publish(models)
    (tmp_path / "snapshots" / ".draft-1").mkdir()
    models.close()
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    assert query(tmp_path / "live" / "tagstack.duckdb", POSITION) == [(1,)]
    assert not (tmp_path / "snapshots" / ".draft-1").exists()
    models.fold([tagged(2)], "log")
    assert snapshots.publish(models)
    assert query(tmp_path / "live" / "tagstack.duckdb", POSITION) == [(2,)]


def test_the_projectors_own_file_stays_locked(tmp_path: Path) -> None:
    """Copying the file does not end DuckDB's lock on it: no other process can write to it."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live", TINY)
    snapshots.publish(models)
    snapshots.release()
    snapshots.publish(models)
    code = "import duckdb, sys; duckdb.connect(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", code, str(models.path)], capture_output=True, text=True)
    assert "lock" in other.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only files")
def test_a_snapshot_can_not_be_written(tmp_path: Path) -> None:
    """A client that opens the snapshot for writing is refused."""
    models, snapshots = opened(tmp_path), DuckDBSnapshots(tmp_path / "live")
    snapshots.publish(models)
    with pytest.raises(duckdb.IOException):
        duckdb.connect(str(tmp_path / "live" / "tagstack.duckdb"))
