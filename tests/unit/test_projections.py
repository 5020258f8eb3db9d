"""Projections: folders of SQL, found, put in order, and documented where an analyst looks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tagstack.adapters.duckdb_batch import EVENT_TYPES
from tagstack.adapters.duckdb_projections import BadProjection, applied, builtin_folder, discover, fingerprint
from tagstack.adapters.duckdb_read_models import ReadModelFile

ROOT = Path(__file__).parent.parent.parent
KEYS = "namespace VARCHAR, image_stream VARCHAR, tag VARCHAR"
CURRENT = (
    f"{KEYS}, image VARCHAR, pull_spec VARCHAR, generation BIGINT, since TIMESTAMP, actor VARCHAR, reason VARCHAR, "
    "origin VARCHAR, held_since TIMESTAMP, held_by VARCHAR, hold_reason VARCHAR, moves BIGINT, position UBIGINT"
)
HISTORY = (
    f"{KEYS}, stack_position BIGINT, image VARCHAR, pull_spec VARCHAR, generation BIGINT, valid_from TIMESTAMP, "
    "valid_to TIMESTAMP, origin VARCHAR, actor VARCHAR, reason VARCHAR, cause VARCHAR, caused_by UBIGINT, "
    "restores UBIGINT, deleted TIMESTAMP, position UBIGINT"
)
CONTRACT = {
    "events": "position UBIGINT, time TIMESTAMP, type VARCHAR, namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, "
    "image VARCHAR, previous_image VARCHAR, pull_spec VARCHAR, generation BIGINT, origin VARCHAR, actor VARCHAR, "
    "reason VARCHAR, cause VARCHAR, caused_by UBIGINT, data JSON",
    "current_tags": CURRENT,
    "tag_history": HISTORY,
    "image_streams": "namespace VARCHAR, image_stream VARCHAR, uid VARCHAR, generation BIGINT, "
    "labels MAP(VARCHAR, VARCHAR), annotations MAP(VARCHAR, VARCHAR), lookup_local BOOLEAN, created TIMESTAMP, "
    "updated TIMESTAMP, deleted TIMESTAMP",
    "images": "image VARCHAR, pull_spec VARCHAR, media_type VARCHAR, architecture VARCHAR, os VARCHAR, "
    "created TIMESTAMP, size BIGINT, layers INTEGER, labels MAP(VARCHAR, VARCHAR), env VARCHAR[], "
    "entrypoint VARCHAR[], cmd VARCHAR[], config JSON, first_seen TIMESTAMP, position UBIGINT",
    "image_layers": "image VARCHAR, ordinal INTEGER, layer VARCHAR, size BIGINT, media_type VARCHAR",
    "image_manifests": "image VARCHAR, child VARCHAR, architecture VARCHAR, os VARCHAR, variant VARCHAR, size BIGINT",
    "tags_as_of('2026-01-01')": CURRENT,
    "tag_stack('a/b:c')": HISTORY,
    "where_used('sha256:')": f"{KEYS}, first TIMESTAMP, last TIMESTAMP, times BIGINT, held_for INTERVAL",
    "rollbacks": f"{HISTORY}, bad_image VARCHAR, bad_for INTERVAL",
    "churn_per_day": "day DATE, namespace VARCHAR, moves BIGINT, tags BIGINT, image_streams BIGINT",
    "tag_lead_time": f"image VARCHAR, {KEYS}, first_tagged TIMESTAMP, arrived TIMESTAMP, lead INTERVAL",
}


@pytest.fixture(scope="module")
def models() -> ReadModelFile:
    """The built-in read models, empty."""
    return ReadModelFile(Path(":memory:"), discover([builtin_folder()]))


def folder(parent: Path, name: str, **files: str) -> Path:
    """Write a projection and return its parent folder."""
    (parent / name).mkdir(parents=True)
    for file, sql in files.items():
        (parent / name / f"{file}.sql").write_text(sql)
    return parent


@pytest.mark.parametrize("relation", CONTRACT)
def test_relations_have_the_columns_of_the_contract(models: ReadModelFile, relation: str) -> None:
    """Every relation, view and macro has its columns, in order, with their types."""
    found = models.connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    assert ", ".join(f"{name} {kind}" for name, kind, *_ in found) == CONTRACT[relation]


def test_everything_is_documented_where_an_analyst_looks(models: ReadModelFile) -> None:
    """Every table, view and macro, and every column, has a comment."""
    silent = models.connection.execute(
        """SELECT table_name, '' FROM duckdb_tables() WHERE comment IS NULL AND NOT temporary
           UNION ALL SELECT view_name, '' FROM duckdb_views() WHERE comment IS NULL AND NOT internal
           UNION ALL SELECT function_name, '' FROM duckdb_functions() WHERE comment IS NULL AND NOT internal
           UNION ALL SELECT table_name, column_name FROM duckdb_columns()
                      WHERE comment IS NULL AND NOT internal"""
    ).fetchall()
    assert silent == []


def test_a_user_folder_is_read_beside_the_built_in_one(tmp_path: Path) -> None:
    """Read models come by name, each after the ones it needs."""
    own = folder(tmp_path, "a_first", views="-- needs: tag_history, zz_last\nSELECT 1;")
    folder(tmp_path, "zz_last", schema="SELECT 1;")
    names = [model.name for model in discover([builtin_folder(), own])]
    assert names.index("tag_history") < names.index("a_first") > names.index("zz_last")
    assert names.index("image_streams") < names.index("tag_history")


@pytest.mark.parametrize(
    ("name", "files", "complaint"),
    [
        ("events", {"views": "SELECT 1"}, "second read model called events"),
        ("Own", {"views": "SELECT 1"}, "a-z, 0-9 and _"),
        ("own", {}, "has none of"),
        ("own", {"views": "-- needs: nothing_like_it"}, "needs nothing_like_it"),
        ("own", {"views": "-- needs: own"}, "a cycle"),
        ("own", {"apply": "-- folds: tag_moved"}, "tag_moved, which is no type of event"),
    ],
)
def test_a_folder_that_can_not_be_used_is_named(
    tmp_path: Path, name: str, files: dict[str, str], complaint: str
) -> None:
    """The error names the folder and the rule it breaks."""
    with pytest.raises(BadProjection, match=complaint):
        discover([builtin_folder(), folder(tmp_path, name, **files)])


@pytest.mark.parametrize("file", ["schema", "apply", "views"])
def test_sql_that_does_not_run_is_named(tmp_path: Path, file: str) -> None:
    """A projection with a mistake in its SQL is refused with DuckDB's words."""
    models = discover([builtin_folder(), folder(tmp_path, "own", **{file: "SELEC 1"})])
    with pytest.raises(BadProjection, match=r"own/\w+\.sql: Parser Error.*SELEC"):
        ReadModelFile(Path(":memory:"), models)


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ("pushes by bird", "bird"),
        ("bushes by actor", "bushes"),
        ("pushes by actor", "pushes has an index"),
    ],
)
def test_an_order_that_can_not_be_used_is_named(tmp_path: Path, order: str, complaint: str) -> None:
    """A table that is to be sorted must be there, with these columns, and must have no index."""
    schema = f"-- sorted: {order}\nCREATE TABLE pushes (actor VARCHAR); CREATE INDEX of_actor ON pushes (actor);"
    models = discover([builtin_folder(), folder(tmp_path, "own", schema=schema)])
    with pytest.raises(BadProjection, match=complaint):
        ReadModelFile(Path(":memory:"), models)


def test_statements_are_run_for_the_types_named_above_them(tmp_path: Path) -> None:
    """What stands above the first such line is run for all of them; a later line counts from there on.

    Seen to fail when a line counts for the whole file.
    """
    sql = "SELECT 1; -- a note\n-- folds: tag_deleted\nSELECT 2; SELECT 3;\n-- folds: tag_held, tag_released\nSELECT 4;"
    [model] = discover([folder(tmp_path, "own", apply=sql)])
    told = [folds for folds, _ in applied([model])]
    assert told == [EVENT_TYPES, {"tag_deleted"}, {"tag_deleted"}, {"tag_held", "tag_released"}]


def test_a_build_that_does_not_run_is_found_by_a_rehearsal(tmp_path: Path) -> None:
    """Not at the end of a build, when the log has been read.

    Seen to fail when `ReadModelFile.rehearse` leaves build.sql out.
    """
    models = ReadModelFile(
        Path(":memory:"), discover([builtin_folder(), folder(tmp_path, "own", build="FROM nothing")])
    )
    with pytest.raises(BadProjection, match=r"own/build\.sql: Catalog Error.*nothing"):
        models.rehearse()
    models.close()


def test_the_fingerprint_tells_stateful_sql_apart(tmp_path: Path) -> None:
    """Schema, apply and build count; views, checks, comments and white space don't; quoted text does.

    Seen to fail when a folder that has views only counts: adding or removing it built everything anew; and when the
    types of a fold count, but not for which of its statements they are.
    """

    def of(**files: str) -> str:
        number = len(list(tmp_path.iterdir()))
        return fingerprint(discover([folder(tmp_path / str(number), "own", **files)]))

    base = of(schema="CREATE TABLE t (a VARCHAR);", apply="SELECT '--x'", views="SELECT 1")
    assert base == of(schema="CREATE  TABLE t -- note\n(a VARCHAR); ", apply="SELECT '--x'", checks="SELECT 2")
    assert base != of(schema="CREATE TABLE t (b VARCHAR);", apply="SELECT '--x'")
    assert base != of(schema="CREATE TABLE t (a VARCHAR);", apply="SELECT '--y'")
    assert base != of(schema="CREATE TABLE t (a VARCHAR);", apply="SELECT '--x'", build="SELECT 1")
    assert of(apply="-- folds: tag_held\nSELECT 1; SELECT 2") != of(apply="SELECT 1;\n-- folds: tag_held\nSELECT 2")
    assert of(views="SELECT 1") == of(checks="SELECT 2") == fingerprint([])


def test_the_first_line_of_every_file_states_its_grain() -> None:
    """An analyst learns from the first line what a row is."""
    for path in builtin_folder().glob("*/*.sql"):
        assert re.match(r"-- grain: \S", path.read_text()), path


def test_the_built_in_projections_are_found_and_packaged() -> None:
    """They lie at the repository's top level, and the wheel carries them inside the package."""
    assert builtin_folder() == ROOT / "projections"
    assert '"projections" = "tagstack/projections"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "moment",
    [
        *("'2026-01-01 12:00'", "'2026-01-01T13:00:00+01:00'", "'2026-01-01T12:00:00Z'", "'2026-01-01 10:30:00-0130'"),
        *("TIMESTAMP '2026-01-01 12:00'", "TIMESTAMPTZ '2026-01-01 13:00+01'", "'2026-01-01 12:00:00.000000'"),
    ],
)
def test_a_moment_is_utc_or_says_its_zone(models: ReadModelFile, moment: str, zone: str) -> None:
    """Text and TIMESTAMP without a zone are UTC; with a zone they are converted, whatever the session's zone."""
    models.connection.execute(f"SET TimeZone = '{zone}'")
    found = models.connection.execute(f"SELECT utc({moment}), utc('2026-01-01')").fetchall()
    assert [tuple(map(str, row)) for row in found] == [("2026-01-01 12:00:00", "2026-01-01 00:00:00")]
