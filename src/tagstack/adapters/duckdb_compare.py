"""Compares a snapshot with rows that Python folded: both in DuckDB, so that size is no matter of memory."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from tagstack.adapters.duckdb_folded import ASKED, SHOWN, TABLES, VIEWS
from tagstack.application.quoting import literal
from tagstack.domain.errors import Unavailable
from tagstack.domain.times import text_of

ROWS_PER_INSERT_MAX = 20_000
DIFFERENCES_MAX = 100  # per relation and side
MEMORY_LIMIT = "1GB"
OPEN_ATTEMPTS_MAX = 5


class Comparison:
    """A snapshot, and beside it a temporary file for the folded rows."""

    def __init__(self, snapshot: Path) -> None:
        """Open a snapshot. Raises Unavailable where it can't be opened."""
        self._folder = tempfile.TemporaryDirectory(prefix="tagstack-verify-")
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._con = duckdb.connect(
            f"{self._folder.name}/folded.duckdb",
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": self._folder.name},
        )
        self._con.execute("SET TimeZone = 'UTC'")  # as where the read models are folded
        self._con.execute(TABLES)
        self._con.execute(VIEWS)
        self.look_at(snapshot)
        self.moment = self._middle()

    def look_at(self, snapshot: Path) -> None:
        """Compare with another snapshot from now on. Raises Unavailable where it can't be opened."""
        for attempt in range(1, OPEN_ATTEMPTS_MAX + 1):
            try:
                self.position = self._attach(snapshot)
                return
            except (OSError, duckdb.Error) as error:
                if attempt == OPEN_ATTEMPTS_MAX:  # an old one is removed some time after it was switched
                    self.close()
                    raise Unavailable(f"snapshot {snapshot} can't be opened: {error}") from error

    def _attach(self, snapshot: Path) -> int:
        path = literal(str(snapshot.resolve(strict=True)))
        self._con.execute(f"USE folded; ATTACH OR REPLACE {path} AS live (READ_ONLY)")
        self._con.execute("USE live")  # where a macro looks for its relations
        return self._number("SELECT position FROM checkpoint")

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

    def others(self, known: Collection[str]) -> list[str]:
        """Return the relations of the snapshot beside the known ones: those of a user's own folder."""
        found = self._con.execute("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'live'")
        return sorted(name for (name,) in found.fetchall() if name not in known)

    def count(self, relation: str) -> int:
        """Return how many rows the snapshot shows in a relation, or in the answers of a macro that are compared."""
        try:
            return sum(self._number(f"SELECT count(*) FROM {shown}") for _, shown in self._sides(relation))  # noqa: S608
        except duckdb.Error:  # `differences` tells of it
            return 0

    def differences(self, relation: str) -> Iterator[tuple[int | None, str]]:
        """Return the rows that one side has and the other has not, with the position each names."""
        try:
            for folded, shown in self._sides(relation):
                yield from self._between(relation, folded, shown)
        except duckdb.Error as error:
            yield None, f"{relation} can't be compared: {str(error).partition(chr(10))[0]}"

    def _between(self, relation: str, folded: str, shown: str) -> Iterator[tuple[int | None, str]]:
        columns = [column[0] for column in self._con.execute(f"FROM {folded} LIMIT 0").description or ()]
        expressions = (f"{SHOWN.get(column, column)} AS {column}" for column in columns)
        one, other = f"SELECT {', '.join(columns)} FROM {folded}", f"SELECT {', '.join(expressions)} FROM {shown}"  # noqa: S608
        if self._digest(one, columns) == self._digest(other, columns):
            return
        for what, left, right in (("misses", one, other), ("has", other, one)):
            found = self._con.execute(f"({left}) EXCEPT ALL ({right}) LIMIT {DIFFERENCES_MAX}")
            for values in found.fetchall():
                row = dict(zip(columns, values, strict=True))
                told = ", ".join(f"{name}={value}" for name, value in row.items() if value is not None)
                yield row.get("position"), f"{relation} {what} the row {told}"

    def _digest(self, rows: str, columns: list[str]) -> object:
        """Return what tells some rows from others, in any order, but for one chance in 2 to the 64.

        It costs a fraction of `EXCEPT ALL`, which keeps every row of a side in memory, and tells which differ.
        """
        found = self._con.execute(f"SELECT count(*), sum(hash({', '.join(columns)})::HUGEINT) FROM ({rows})")  # noqa: S608
        return found.fetchone()

    def _sides(self, relation: str) -> list[tuple[str, str]]:
        """Return what was folded, and beside it what the snapshot shows, as SQL; several pairs for a macro."""
        for name in list(self._waiting):
            self._insert(name)
        if relation == "tags_as_of":
            return [("folded.tags_as_of", f"tags_as_of({literal(self.moment)})")]
        if relation in ASKED:
            asked = [f"{relation}({literal(value)})" for (value,) in self._con.execute(ASKED[relation]).fetchall()]
            return [(f"folded.{call}", call) for call in asked]
        return [(f"folded.{relation}", f"live.{relation}")]

    def _middle(self) -> str:
        """Return the moment at which half of the events had happened."""
        found = self._con.execute("SELECT quantile_disc(time, 0.5) FROM events").fetchone()
        return text_of(found[0].replace(tzinfo=UTC) if found and found[0] else datetime.now(UTC))

    def _number(self, sql: str) -> int:
        return int(self._con.execute(sql).fetchall()[0][0])

    def _insert(self, relation: str) -> None:
        rows = self._waiting.pop(relation)
        kinds = self._con.execute(f"DESCRIBE folded.{relation}").fetchall()
        names = [name for name, *_ in kinds if name in rows[0]]
        values = [f"try_cast({name} AS {kind}) AS {name}" for name, kind, *_ in kinds if name in rows[0]]
        self._con.register("arriving", pa.Table.from_pylist(rows))
        sql = f"INSERT INTO folded.{relation} ({', '.join(names)}) SELECT {', '.join(values)} FROM arriving"  # noqa: S608
        self._con.execute(sql)
        self._con.unregister("arriving")
