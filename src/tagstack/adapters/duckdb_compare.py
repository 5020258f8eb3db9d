"""Compares a snapshot with rows that Python folded: both in DuckDB, so that size is no matter of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from tagstack.domain.errors import Unavailable

ROWS_PER_INSERT_MAX = 20_000
DIFFERENCES_MAX = 100  # per relation and side
MEMORY_LIMIT = "1GB"
OPEN_ATTEMPTS_MAX = 5

FOLDED = """
CREATE TABLE events (position BIGINT, time TIMESTAMP, type VARCHAR, body VARCHAR, namespace VARCHAR,
    image_stream VARCHAR, tag VARCHAR, image VARCHAR, previous_image VARCHAR, pull_spec VARCHAR, generation BIGINT,
    origin VARCHAR, actor VARCHAR, reason VARCHAR, cause VARCHAR, caused_by BIGINT);
CREATE TABLE current_tags (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, image VARCHAR, pull_spec VARCHAR,
    generation BIGINT, since TIMESTAMP, actor VARCHAR, reason VARCHAR, origin VARCHAR, held_since TIMESTAMP,
    held_by VARCHAR, hold_reason VARCHAR, moves BIGINT, position BIGINT);
CREATE TABLE entries (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, number BIGINT, image VARCHAR,
    pull_spec VARCHAR, generation BIGINT, valid_from TIMESTAMP, valid_to TIMESTAMP, origin VARCHAR, actor VARCHAR,
    reason VARCHAR, cause VARCHAR, caused_by BIGINT, restores BIGINT, position BIGINT);
CREATE TABLE stacks (namespace VARCHAR, image_stream VARCHAR, tag VARCHAR, entries BIGINT, deleted TIMESTAMP);
CREATE TABLE image_streams (namespace VARCHAR, image_stream VARCHAR, uid VARCHAR, generation BIGINT, labels VARCHAR,
    annotations VARCHAR, lookup_local BOOLEAN, created TIMESTAMP, updated TIMESTAMP, deleted TIMESTAMP);
CREATE TABLE images (image VARCHAR, first_seen TIMESTAMP, position BIGINT);
CREATE VIEW tag_history AS
SELECT e.* EXCLUDE (number), s.entries - e.number + 1 AS stack_position, s.deleted
  FROM entries e JOIN stacks s USING (namespace, image_stream, tag);
"""

_TABLES = ("events", "current_tags", "entries", "stacks", "image_streams", "images")
_PAIRS = "to_json(list_sort(list_transform(map_entries({0}), lambda pair: [pair.key, pair.value])))::VARCHAR"

# how a snapshot shows what Python folded under another name or type
SHOWN = {
    "body": "md5(data::VARCHAR)",
    "labels": _PAIRS.format("labels"),
    "annotations": _PAIRS.format("annotations"),
}


class Comparison:
    """A snapshot, and beside it a temporary file for the folded rows."""

    def __init__(self, snapshot: Path) -> None:
        """Open a snapshot. Raises Unavailable where it can't be opened."""
        self._folder = tempfile.TemporaryDirectory(prefix="tagstack-verify-")
        self._waiting: dict[str, list[dict[str, Any]]] = {name: [] for name in _TABLES}
        self._con = duckdb.connect(
            f"{self._folder.name}/folded.duckdb",
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": self._folder.name},
        )
        for attempt in range(1, OPEN_ATTEMPTS_MAX + 1):
            try:
                self.position = self._attach(snapshot)
                break
            except (OSError, duckdb.Error) as error:
                if attempt == OPEN_ATTEMPTS_MAX:  # an old one is removed some time after it was switched
                    self.close()
                    raise Unavailable(f"snapshot {snapshot} can't be opened: {error}") from error
        self._con.execute(FOLDED)

    def _attach(self, snapshot: Path) -> int:
        quoted = str(snapshot.resolve(strict=True)).replace("'", "''")
        self._con.execute(f"ATTACH OR REPLACE '{quoted}' AS live (READ_ONLY)")
        return int(self._con.execute("SELECT position FROM live.checkpoint").fetchall()[0][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both files and remove the temporary one."""
        self._con.close()
        self._folder.cleanup()

    def add(self, relation: str, row: dict[str, Any]) -> None:
        """Take one folded row."""
        waiting = self._waiting[relation]
        waiting.append(row)
        if len(waiting) >= ROWS_PER_INSERT_MAX:
            self._insert(relation)

    def count(self, relation: str) -> int:
        """Return how many rows the snapshot has in a relation."""
        return int(self._con.execute(f"SELECT count(*) FROM live.{relation}").fetchall()[0][0])  # noqa: S608

    def differences(self, relation: str) -> Iterator[tuple[int | None, str]]:
        """Return the rows that one side has and the other has not, with the position each names."""
        for name in _TABLES:
            self._insert(name)
        columns = [column[0] for column in self._con.execute(f"FROM {relation} LIMIT 0").description or ()]
        folded = f"SELECT {', '.join(columns)} FROM {relation}"  # noqa: S608
        expressions = (f"{SHOWN.get(column, column)} AS {column}" for column in columns)
        shown = f"SELECT {', '.join(expressions)} FROM live.{relation}"  # noqa: S608
        for what, one, other in (("misses", folded, shown), ("has", shown, folded)):
            found = self._con.execute(f"({one}) EXCEPT ALL ({other}) LIMIT {DIFFERENCES_MAX}")
            for values in found.fetchall():
                row = dict(zip(columns, values, strict=True))
                told = ", ".join(f"{name}={value}" for name, value in row.items() if value is not None)
                yield row.get("position"), f"{relation} {what} the row {told}"

    def _insert(self, relation: str) -> None:
        rows, self._waiting[relation] = self._waiting[relation], []
        if not rows:
            return
        names = list(rows[0])
        self._con.register("arriving", pa.Table.from_pylist(rows))
        self._con.execute(f"INSERT INTO {relation} ({', '.join(names)}) SELECT {', '.join(names)} FROM arriving")  # noqa: S608
        self._con.unregister("arriving")
