"""The SQL relations seen from outside: names, columns and types are a promise, on an empty log too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tagstack.adapters.duckdb_projections import FILES, builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tests import sample_history

_TAG = "namespace VARCHAR, image_stream VARCHAR, tag VARCHAR"
_CURRENT = (
    f"{_TAG}, image VARCHAR, pull_spec VARCHAR, generation BIGINT, since TIMESTAMP, actor VARCHAR, reason VARCHAR, "
    "origin VARCHAR, held_since TIMESTAMP, held_by VARCHAR, hold_reason VARCHAR, moves BIGINT, position UBIGINT"
)
_HISTORY = (
    f"{_TAG}, stack_position BIGINT, image VARCHAR, pull_spec VARCHAR, generation BIGINT, valid_from TIMESTAMP, "
    "valid_to TIMESTAMP, origin VARCHAR, actor VARCHAR, reason VARCHAR, cause VARCHAR, caused_by UBIGINT, "
    "restores UBIGINT, deleted TIMESTAMP, position UBIGINT"
)
PROMISED = {
    "events": "position UBIGINT, time TIMESTAMP, type VARCHAR, namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, "
    "image VARCHAR, previous_image VARCHAR, pull_spec VARCHAR, generation BIGINT, origin VARCHAR, actor VARCHAR, "
    "reason VARCHAR, cause VARCHAR, caused_by UBIGINT, data JSON",
    "current_tags": _CURRENT,
    "tag_history": _HISTORY,
    "image_streams": "namespace VARCHAR, image_stream VARCHAR, uid VARCHAR, generation BIGINT, "
    "labels MAP(VARCHAR, VARCHAR), annotations MAP(VARCHAR, VARCHAR), lookup_local BOOLEAN, created TIMESTAMP, "
    "updated TIMESTAMP, deleted TIMESTAMP",
    "images": "image VARCHAR, pull_spec VARCHAR, media_type VARCHAR, architecture VARCHAR, os VARCHAR, "
    "created TIMESTAMP, size BIGINT, layers INTEGER, labels MAP(VARCHAR, VARCHAR), env VARCHAR[], "
    "entrypoint VARCHAR[], cmd VARCHAR[], config JSON, first_seen TIMESTAMP, position UBIGINT",
    "image_layers": "image VARCHAR, ordinal INTEGER, layer VARCHAR, size BIGINT, media_type VARCHAR",
    "image_manifests": "image VARCHAR, child VARCHAR, architecture VARCHAR, os VARCHAR, variant VARCHAR, size BIGINT",
    "tags_as_of('2026-08-01')": _CURRENT,
    "tag_stack('prod/api:latest')": _HISTORY,
    "where_used('sha256:4')": f"{_TAG}, first TIMESTAMP, last TIMESTAMP, times BIGINT, held_for INTERVAL",
    "rollbacks": f"{_HISTORY}, bad_image VARCHAR, bad_for INTERVAL",
    "churn_per_day": "day DATE, namespace VARCHAR, moves BIGINT, tags BIGINT, image_streams BIGINT",
    "tag_lead_time": f"image VARCHAR, {_TAG}, first_tagged TIMESTAMP, arrived TIMESTAMP, lead INTERVAL",
}
MOMENT = datetime(2026, 7, 16, 15, tzinfo=UTC)  # prod/api:latest points at 1.2 from 13:30 to 17:48
LATEST = "WHERE namespace = 'prod' AND image_stream = 'api' AND tag = 'latest'"
FOLDERS = sorted(path for path in builtin_folder().iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=["empty", "told"])
def con(request: pytest.FixtureRequest) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return read models of a log without events, and of the sample history."""
    if request.param == "told":
        models = sample_history.folded()
    else:
        models = ReadModelFile(Path(":memory:"), discover([builtin_folder()]))
    yield models.connection
    models.close()


@pytest.fixture(scope="module")
def told() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return read models of the sample history."""
    models = sample_history.folded()
    yield models.connection
    models.close()


@pytest.mark.parametrize("relation", PROMISED)
def test_a_relation_has_the_promised_columns(con: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Every relation exists from the beginning, with the columns of the contract, in order and of their types."""
    described = con.execute(f"DESCRIBE FROM {relation}").fetchall()
    assert ", ".join(f"{name} {kind}" for name, kind, *_ in described) == PROMISED[relation]
    assert con.execute(f"FROM {relation}").description is not None


@pytest.mark.parametrize("relation", PROMISED)
def test_a_relation_is_empty_without_events(relation: str) -> None:
    """Who asks before anything happened gets no rows and no error; who asks afterwards gets some."""
    models = ReadModelFile(Path(":memory:"), discover([builtin_folder()]))
    assert models.connection.execute(f"FROM {relation}").fetchall() == []
    models.close()


@pytest.mark.parametrize(
    "moment",
    [
        MOMENT.strftime("%Y-%m-%d %H:%M:%S"),
        MOMENT.strftime("%Y-%m-%dT%H:%M:%SZ"),
        (MOMENT + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S.250+05:00"),
        MOMENT.replace(tzinfo=None),
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
    ],
    ids=["text", "text in UTC", "text with an offset", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPTZ of another zone"],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_as_of_takes_a_time_in_every_form(told: duckdb.DuckDBPyConnection, moment: Any, zone: str) -> None:
    """Text and TIMESTAMP are UTC, TIMESTAMPTZ is converted, whatever the time zone of the reader's session."""
    told.execute(f"SET TimeZone = '{zone}'")
    found = told.execute(f"SELECT actor, reason, since::VARCHAR FROM tags_as_of(?) {LATEST}", [moment]).fetchall()
    told.execute("RESET TimeZone")
    assert found == [("alice", "release 1.2", "2026-07-16 13:30:00")]


def test_as_of_tells_holds_as_they_were(told: duckdb.DuckDBPyConnection) -> None:
    """A hold that has ended since is there as of a time within it, and not before."""
    asked = f"SELECT held_by, hold_reason FROM tags_as_of(?) {LATEST}"
    assert told.execute(asked, ["2026-07-16 17:47"]).fetchall() == [(None, None)]
    assert told.execute(asked, ["2026-07-16 17:48"]).fetchall() == [("alice", "checkout answers 500")]
    assert told.execute(asked, ["2026-07-17 14:05"]).fetchall() == [(None, None)]


def test_as_of_has_neither_what_came_later_nor_what_was_gone(told: duckdb.DuckDBPyConnection) -> None:
    """Before the beginning there is nothing, and a deleted image stream is there until it was deleted."""
    legacy = "SELECT tag FROM tags_as_of(?) WHERE image_stream = 'legacy' ORDER BY tag"
    assert told.execute("FROM tags_as_of('2026-06-30')").fetchall() == []
    assert told.execute(legacy, ["2026-08-28 16:59:59"]).fetchall() == [("latest",), ("php7",)]
    assert told.execute(legacy, ["2026-08-28 17:00"]).fetchall() == []


@pytest.mark.parametrize("cut", [slice(None), slice(0, 20), slice(7, None), slice(7, 20)])
def test_where_used_takes_the_beginning_of_an_image(told: duckdb.DuckDBPyConnection, cut: slice) -> None:
    """A digest may be given whole or in part, with its algorithm or without."""
    image = sample_history.digest("web-1.3.0-amd64")[cut]
    asked = told.execute("SELECT namespace, tag, times FROM where_used(?) ORDER BY ALL", [image]).fetchall()
    assert asked == [("dev", "latest", 1), ("prod", "latest", 1), ("staging", "latest", 1)]


def test_where_used_tells_for_how_long(told: duckdb.DuckDBPyConnection) -> None:
    """Every stay of the image counts, from when the tag began to point there until it pointed elsewhere or was gone."""
    asked = "SELECT tag, times, held_for FROM where_used(?) WHERE namespace IN ('prod', 'dev') ORDER BY tag"
    twice = told.execute(asked, [sample_history.digest("api-1.1.1-amd64")]).fetchall()
    assert ("stable", 2, timedelta(days=7, hours=23, minutes=47)) in twice
    gone = told.execute(asked, [sample_history.digest("legacy-0.8.0-amd64")]).fetchall()
    assert gone == [("php7", 1, timedelta(days=31, hours=4, minutes=54))]


@pytest.mark.parametrize("asked", ["tag_stack('prod/no:such')", "tag_stack('')", "where_used('sha256:no')"])
def test_what_never_was_has_no_rows(told: duckdb.DuckDBPyConnection, asked: str) -> None:
    """A macro answers a reference to nothing with nothing."""
    assert told.execute(f"FROM {asked}").fetchall() == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_of_a_read_model_says_its_grain(folder: Path) -> None:
    """The first line of each file tells what one row of it stands for."""
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.stem for path in files} <= set(FILES)
    assert [path.name for path in files if not path.read_text().startswith("-- grain: ")] == []
