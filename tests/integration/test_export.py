"""Export: Parquet that DuckDB, pandas and polars read, by day, and as often as one likes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pytest

from tagstack.adapters.duckdb_export import SnapshotSource
from tagstack.adapters.export_files import ExportError, ExportFolder
from tagstack.application.export import BEHIND, ORDERS
from tagstack.apps.export import Exported, from_snapshot

PROJECTIONS = Path(__file__).parents[2] / "projections"
DAY = "2026-01-{day:02d} {hour:02d}:00:00"


def event(position: int, day: int, image: str, previous: str | None) -> dict[str, Any]:
    """Return the row of a move of prod/api:latest."""
    columns = dict.fromkeys(("pull_spec", "caused_by"))
    named = {"namespace": "prod", "image_stream": "api", "tag": "latest", "type": "image_tagged"}
    told = {"origin": "mapping", "actor": "me", "reason": "", "cause": f"c{position}", "generation": 1}
    moved = {"image": image, "previous_image": previous, "data": json.dumps({"position": position})}
    return columns | named | told | moved | {"position": position, "time": DAY.format(day=day, hour=position % 24)}


class Snapshot:
    """A file of read models with rows of our own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        with duckdb.connect(str(path)) as con:
            for schema in sorted(PROJECTIONS.glob("*/schema.sql")):
                con.execute(schema.read_text())
            later = ("rollbacks", "tag_lead_time", "churn_per_day", "holds")
            for views in sorted(PROJECTIONS.glob("*/views.sql"), key=lambda path: path.parent.name in later):
                for statement in duckdb.extract_statements(views.read_text()):
                    if "VIEW" in statement.query.split("AS")[0].upper().split():
                        con.execute(statement)
            con.execute("UPDATE checkpoint SET log = 'first', event_id = 'e'")

    def move(self, day: int, image: str) -> None:
        """Store one more move of a tag."""
        with duckdb.connect(str(self.path)) as con:
            before = con.execute("SELECT last(image ORDER BY position) FROM events").fetchone()
            self._count += 1
            row = event(self._count, day, image, before[0] if before else None)
            self._insert(con, "events", row)
            since = {"since": row["time"], "entry_position": row["position"], "is_entry": True}
            names = ("namespace", "image_stream", "tag", "position", "time", "type", "image", "generation")
            kept = {name: row[name] for name in (*names, "origin", "actor", "reason", "cause")}
            self._insert(con, "tag_changes", kept | since)
            con.execute("UPDATE checkpoint SET position = ?", [self._count])

    def hold(self, reason: str) -> None:
        """Let the tag be held from now on."""
        with duckdb.connect(str(self.path)) as con:
            held = {"type": "tag_held", "is_entry": False, "held_by": "me", "hold_reason": reason}
            changed = ", ".join(f"{value!r} AS {name}" for name, value in held.items())
            con.execute(
                f"INSERT INTO tag_changes SELECT * REPLACE ({changed}, time AS held_since, position + 1 AS position) "
                "FROM tag_changes ORDER BY position DESC LIMIT 1"
            )

    def belongs_to(self, log: str) -> None:
        """Let the rows be those of another log."""
        with duckdb.connect(str(self.path)) as con:
            con.execute("UPDATE checkpoint SET log = ?", [log])

    @staticmethod
    def _insert(con: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        con.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """A snapshot with five moves on three days, one of them back."""
    made = Snapshot(tmp_path / "tagstack.duckdb")
    for day, image in ((1, "a"), (1, "b"), (2, "a"), (3, "c"), (3, "d")):
        made.move(day, image)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where to export to."""
    return tmp_path / "out"


def exported(snapshot: Snapshot, folder: Path) -> Exported:
    """Export and return what was done."""
    return asyncio.run(from_snapshot(snapshot.path, folder))


def test_duckdb_pandas_and_polars_read_every_relation(snapshot: Snapshot, folder: Path) -> None:
    """Each reads as many rows, under the column names, as the snapshot has; no table or view is left out."""
    snapshot.hold("mind the gap")
    exported(snapshot, folder)
    with duckdb.connect(str(snapshot.path), read_only=True) as con:
        relations = {name for (name,) in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
        assert {path.stem for path in folder.glob("*.parquet")} == set(ORDERS) == relations - BEHIND - {"events"}
        for relation in ORDERS:
            wanted = con.execute(f"FROM {relation}")
            names, count = [column[0] for column in wanted.description or ()], len(wanted.fetchall())
            file = str(folder / f"{relation}.parquet")
            assert duckdb.sql(f"FROM '{file}'").columns == names
            assert list(pandas.read_parquet(file).columns) == names
            frame = polars.read_parquet(file)
            assert (frame.columns, frame.height) == (names, count)
    rollback = polars.read_parquet(folder / "rollbacks.parquet").to_dicts()
    assert [(row["image"], row["bad_image"]) for row in rollback] == [("a", "b")]
    assert rollback[0]["bad_for"] == 25 * 3600.0
    (held,) = polars.read_parquet(folder / "holds.parquet").to_dicts()
    assert (held["image"], held["reason"], held["held_to"], held["held_for"]) == ("d", "mind the gap", None, None)


def test_relations_of_a_users_own_folder_are_exported(snapshot: Snapshot, folder: Path) -> None:
    """Whatever a user's projections define is there, in types that every reader knows, and anew when it changes."""
    with duckdb.connect(str(snapshot.path)) as con:
        con.execute('CREATE VIEW "my/own ""sums" AS SELECT sum(position) AS "total {0}" FROM events')
        con.execute(
            "CREATE TABLE odd AS SELECT uuid() AS id, INTERVAL 1 HOUR AS lasted, '{}'::JSON AS told, [1, 2] AS list"
        )
    assert exported(snapshot, folder).written == 3 + len(ORDERS) + 2
    sums = str(folder / "my%2Fown%20%22sums.parquet")
    assert duckdb.sql(f"FROM '{sums}'").fetchall() == [(15,)]
    for frame in (pandas.read_parquet(sums), polars.read_parquet(sums)):
        assert [*frame.columns] == ["total {0}"]
    (row,) = polars.read_parquet(folder / "odd.parquet").to_dicts()
    assert (len(row["id"]), row["lasted"], row["told"], row["list"]) == (36, 3600.0, "{}", [1, 2])
    with duckdb.connect(str(snapshot.path)) as con:
        con.execute("ALTER TABLE odd DROP told")
    assert exported(snapshot, folder).written == 1
    assert polars.read_parquet(folder / "odd.parquet").columns == ["id", "lasted", "list"]


def test_events_are_partitioned_by_day(snapshot: Snapshot, folder: Path) -> None:
    """`day=YYYY-MM-DD` is a column to each reader, and all events are there, in order."""
    exported(snapshot, folder)
    pattern = f"{folder}/events/*/*.parquet"
    rows = duckdb.sql(f"SELECT day::VARCHAR, position FROM read_parquet('{pattern}') ORDER BY position").fetchall()
    days = ["2026-01-01"] * 2 + ["2026-01-02"] + ["2026-01-03"] * 2
    assert rows == list(zip(days, range(1, 6), strict=True))
    frame = pandas.read_parquet(folder / "events")
    assert sorted(zip(frame["day"].astype(str), frame["position"], strict=True)) == rows
    lazy = polars.scan_parquet(pattern, hive_partitioning=True).sort("position").collect()
    assert lazy["position"].to_list() == [1, 2, 3, 4, 5]
    assert lazy["day"].cast(polars.String).to_list() == days
    assert json.loads(lazy["data"][0]) == {"position": 1}


def test_a_second_export_writes_only_what_changed(snapshot: Snapshot, folder: Path) -> None:
    """Days without new events are left as they are; without any event nothing is written at all."""
    first = exported(snapshot, folder)
    assert (first.position, first.written) == (5, 3 + len(ORDERS))
    assert exported(snapshot, folder).written == 0
    untouched = (folder / "events/day=2026-01-01/events.parquet").stat().st_ino
    snapshot.move(3, "e")
    snapshot.move(4, "f")
    again = exported(snapshot, folder)
    assert (again.position, again.written) == (7, 2 + len(ORDERS))
    assert (folder / "events/day=2026-01-01/events.parquet").stat().st_ino == untouched
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/events/*/*.parquet'").fetchall() == [(7,)]


def test_a_killed_export_leaves_whole_files_and_goes_on(
    snapshot: Snapshot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has its name is complete; the next run writes the rest and removes what was half written."""
    write = SnapshotSource.write

    async def killed(self: SnapshotSource, sql: str, file: str) -> int:
        if "day=2026-01-03" not in file:
            return await write(self, sql, file)
        half_written(file)
        raise KeyboardInterrupt

    monkeypatch.setattr(SnapshotSource, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        exported(snapshot, folder)
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/events/*/*.parquet'").fetchall() == [(3,)]
    monkeypatch.undo()
    assert exported(snapshot, folder).written == 1 + len(ORDERS)
    assert list(folder.rglob("*.part")) == []


def half_written(file: str) -> None:
    """Leave what a killed writer leaves."""
    Path(file).write_bytes(b"half")


def test_the_manifest_says_what_is_there(snapshot: Snapshot, folder: Path) -> None:
    """Each file with its rows, its size and the position it reaches."""
    exported(snapshot, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["log"], manifest["position"]) == ("first", 5)
    day = manifest["files"]["events/day=2026-01-02/events.parquet"]
    assert (day["rows"], day["position"]) == (1, 3)
    for file, told in manifest["files"].items():
        assert (folder / file).stat().st_size == told["bytes"]


def test_another_log_replaces_the_export(snapshot: Snapshot, folder: Path, tmp_path: Path) -> None:
    """After the log was restored elsewhere nothing of the old export is left."""
    exported(snapshot, folder)
    other = Snapshot(tmp_path / "other.duckdb")
    other.move(9, "z")
    other.belongs_to("second")
    assert exported(other, folder).written == 1 + len(ORDERS)
    assert [path.name for path in (folder / "events").glob("*/*.parquet")] == ["events.parquet"]
    assert polars.read_parquet(folder / "tag_history.parquet")["image"].to_list() == ["z"]


def test_nothing_is_exported_as_nothing(tmp_path: Path, folder: Path) -> None:
    """Without events every relation but `events` is an empty file with its columns."""
    done = exported(Snapshot(tmp_path / "empty.duckdb"), folder)
    assert (done.position, done.rows) == (0, 0)
    assert polars.read_parquet(folder / "current_tags.parquet").height == 0


def test_two_exports_into_one_folder_are_refused(snapshot: Snapshot, folder: Path) -> None:
    """The second one says that the first one runs."""
    with ExportFolder(folder).locked(), pytest.raises(ExportError, match="another export into"):
        exported(snapshot, folder)
