"""Exports the read models to files: events by day, every other relation in one file.

A day whose events are exported is not written again unless it has more of them; every file appears
whole or not at all, so an export may be killed and run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

FORMAT = "tagstack-export"
VERSION = 1

# relation: columns that other engines read only in another type (seconds for intervals, text for JSON), and the order
RELATIONS: dict[str, tuple[dict[str, str], str]] = {
    "current_tags": ({}, "namespace, image_stream, tag"),
    "tag_history": ({}, "namespace, image_stream, tag, stack_position"),
    "image_streams": ({}, "namespace, image_stream"),
    "images": ({"config": "config::VARCHAR"}, "position"),
    "image_layers": ({}, "image, ordinal"),
    "image_manifests": ({}, "image, child"),
    "rollbacks": ({"bad_for": "epoch(bad_for)"}, "position"),
    "churn_per_day": ({}, "day, namespace"),
    "tag_lead_time": ({"lead": "epoch(lead)"}, "image, arrived"),
}
DAYS = """
SELECT strftime(time, '%Y-%m-%d') AS day, count(*)::BIGINT AS events, max(position)::BIGINT AS position
  FROM events GROUP BY ALL ORDER BY ALL"""


class Written(msgspec.Struct, frozen=True, rename="camel"):
    """One file of an export: what it holds, up to which log position."""

    rows: int
    position: int
    bytes: int


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

    async def days(self, sql: str) -> list[tuple[str, int, int]]:
        """Return the rows of `DAYS`."""
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
    wanted = list(_files(await source.days(DAYS), position))
    written = 0
    for file, sql, reached, rows in wanted:
        known = manifest.files.get(file)
        fresh = known is not None and known.position == reached and rows in (None, known.rows)
        if fresh and known is not None and target.has(file, known.bytes):
            continue
        count = await source.write(sql, target.part(file))
        manifest.files[file] = Written(count, reached, target.put(file))
        target.save(manifest, complete=False)
        written += 1
    manifest.files = {file: manifest.files[file] for file, *_ in wanted}
    manifest.position = position
    target.save(manifest, complete=True)
    rows_now = sum(file.rows for file in manifest.files.values())
    return Exported(position, len(manifest.files), written, rows_now)


def _files(days: list[tuple[str, int, int]], position: int) -> Iterator[tuple[str, str, int, int | None]]:
    """Return every file: its name, its statement, the position it reaches, its rows where they are known."""
    for day, events, last in days:
        sql = (
            f"SELECT * REPLACE (data::VARCHAR AS data) FROM events WHERE time >= TIMESTAMP '{day}'"  # noqa: S608
            f" AND time < TIMESTAMP '{day}' + INTERVAL 1 DAY AND position <= {last} ORDER BY position"
        )
        yield f"events/day={day}/events.parquet", sql, last, events
    for relation, (changed, order) in RELATIONS.items():
        replaced = ", ".join(f"{expression} AS {column}" for column, expression in changed.items())
        columns = f"* REPLACE ({replaced})" if replaced else "*"
        yield f"{relation}.parquet", f"SELECT {columns} FROM {relation} ORDER BY {order}", position, None  # noqa: S608
