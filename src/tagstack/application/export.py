"""Exports the read models to files: events by day, every other relation in one file, those of a user's own folder too.

A day whose events are exported is not written again unless it has more of them; every file appears
whole or not at all, so an export may be killed and run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from tagstack.application.quoting import identifier

FORMAT = "tagstack-export"
VERSION = 1

BEHIND = frozenset({"checkpoint", "dead_letters", "tag_changes", "tag_moves"})  # what others derive from, or watch over
# in which order the rows of a relation stand; by all of its columns otherwise
ORDERS = {
    "current_tags": "namespace, image_stream, tag",
    "tag_history": "namespace, image_stream, tag, stack_position",
    "image_streams": "namespace, image_stream",
    "images": "position",
    "image_layers": "image, ordinal",
    "image_manifests": "image, child",
    "rollbacks": "position",
    "holds": "held_from, namespace, image_stream, tag",
    "churn_per_day": "day, namespace",
    "tag_lead_time": "image, arrived, namespace, image_stream, tag",
}
# types that other engines can't read, or DuckDB and Arrow write in two ways, and what is written in their place
WRITTEN = {
    "INTERVAL": "epoch({0})",  # seconds
    "JSON": "{0}::VARCHAR",
    "UUID": "{0}::VARCHAR",
    "HUGEINT": "{0}::DECIMAL(38, 0)",
    "UHUGEINT": "{0}::DECIMAL(38, 0)",
}
COLUMNS = """
SELECT table_name, column_name, data_type FROM duckdb_columns()
 WHERE NOT internal AND schema_name = 'main' AND database_name <> 'temp' ORDER BY table_name, column_index"""
DAYS = """
SELECT strftime(time, '%Y-%m-%d') AS day, count(*)::BIGINT AS events, max(position)::BIGINT AS position
  FROM events GROUP BY ALL ORDER BY ALL"""


class Written(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One file of an export: what it holds, up to which log position. Events always have the same columns."""

    rows: int
    position: int
    bytes: int
    columns: list[str] = []


class Manifest(msgspec.Struct, rename="camel"):
    """What an export holds. `position` is the log position that all of it includes."""

    log: str
    position: int = 0
    files: dict[str, Written] = {}
    format: str = FORMAT
    version: int = VERSION


class Source(Protocol):
    """The read models, as they stand at one position or later."""

    async def stand(self) -> tuple[str, int]:
        """Return the log's identity and the position the read models have reached."""
        ...

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that has few."""
        ...

    async def write(self, sql: str, file: str) -> int:
        """Write the rows of a statement to a Parquet file and return how many there were."""
        ...


class Target(Protocol):
    """The folder that files are exported to."""

    def manifest(self) -> Manifest | None:
        """Return what the folder holds; None where it holds no export."""
        ...

    def part(self, file: str) -> str:
        """Return the path under which a file is written until it is whole."""
        ...

    def put(self, file: str) -> int:
        """Give a whole file its name in one step; return its size."""
        ...

    def has(self, file: str, size: int) -> bool:
        """Return whether a file is there, as big as it should be."""
        ...

    def save(self, manifest: Manifest, *, complete: bool) -> None:
        """Replace the manifest in one step; remove files that a complete one does not name."""
        ...


class Exported(msgspec.Struct, frozen=True):
    """What an export holds now, and what this run wrote."""

    position: int
    files: int
    written: int
    rows: int


async def export(source: Source, target: Target) -> Exported:
    """Bring an export up to the read models' position."""
    log, position = await source.stand()
    manifest = target.manifest()
    if manifest is None or manifest.log != log:
        manifest = Manifest(log)
    wanted = [*_days(await source.rows(DAYS)), *relation_files(await source.rows(COLUMNS), position)]
    written = 0
    for file in wanted:
        if _is_there(file, manifest.files.get(file.path), target):
            continue
        rows = await source.write(file.sql, target.part(file.path))
        manifest.files[file.path] = Written(rows, file.position, target.put(file.path), file.columns)
        target.save(manifest, complete=False)
        written += 1
    manifest.files = {file.path: manifest.files[file.path] for file in wanted}
    manifest.position = position
    target.save(manifest, complete=True)
    rows_now = sum(file.rows for file in manifest.files.values())
    return Exported(position, len(manifest.files), written, rows_now)


class File(msgspec.Struct):
    """A file that an export has to hold. `position` is what it reaches, `rows` is set where they are known."""

    path: str
    sql: str
    position: int
    rows: int | None = None
    columns: list[str] = []


def _is_there(file: File, known: Written | None, target: Target) -> bool:
    if known is None or (known.position, known.columns) != (file.position, file.columns):
        return False
    return file.rows in (None, known.rows) and target.has(file.path, known.bytes)


def _days(days: Iterable[tuple[Any, ...]]) -> Iterator[File]:
    for day, events, last in days:
        sql = (
            f"SELECT * REPLACE (data::VARCHAR AS data) FROM events WHERE time >= TIMESTAMP '{day}'"  # noqa: S608
            f" AND time < TIMESTAMP '{day}' + INTERVAL 1 DAY AND position <= {last} ORDER BY position"
        )
        yield File(f"events/day={day}/events.parquet", sql, last, events)


def relation_files(described: Iterable[tuple[Any, ...]], position: int) -> Iterator[File]:
    """Return the files of the relations that rows of `COLUMNS` describe, `events` excepted."""
    for relation, group in itertools.groupby(described, key=lambda column: str(column[0])):
        if relation == "events" or relation in BEHIND:
            continue
        columns = [(identifier(name), kind) for _, name, kind in group]
        selected = ", ".join(f"{WRITTEN.get(kind, '{0}').format(name)} AS {name}" for name, kind in columns)
        sql = f"SELECT {selected} FROM {identifier(relation)} ORDER BY {ORDERS.get(relation, 'ALL')}"  # noqa: S608
        told = [f"{name} {kind}" for name, kind in columns]
        yield File(f"{quote(relation, safe='')}.parquet", sql, position, columns=told)
