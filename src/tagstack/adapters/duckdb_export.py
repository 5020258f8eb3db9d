"""Exports from a snapshot's file, in this process: one state from the first file to the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import duckdb

from tagstack.application.quoting import literal
from tagstack.domain.errors import TagstackError, Unavailable

MEMORY_LIMIT = "1GB"
OPEN_ATTEMPTS_MAX = 5


class SnapshotSource:
    """A snapshot, open for reading; the name it was opened by may be switched to a newer one meanwhile."""

    def __init__(self, path: Path, spill: Path) -> None:
        """Open a snapshot; what does not fit into memory goes to `spill`. Raises Unavailable."""
        self._spill = str(spill)
        for attempt in range(1, OPEN_ATTEMPTS_MAX + 1):
            try:
                self._con = self._open(path)
                return
            except (OSError, duckdb.Error) as error:
                if attempt == OPEN_ATTEMPTS_MAX:  # an old one is removed some time after it was switched
                    raise Unavailable(f"snapshot {path} can't be opened: {error}") from error

    def _open(self, path: Path) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {}
        config |= {"memory_limit": MEMORY_LIMIT, "temp_directory": self._spill}
        return duckdb.connect(str(path.resolve(strict=True)), read_only=True, config=config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    async def stand(self) -> tuple[str, int]:
        """Return the log's identity and the snapshot's position."""
        row = self._con.execute("SELECT log, position FROM checkpoint").fetchone()
        assert row is not None, "a snapshot has a checkpoint"
        return str(row[0]), int(row[1])

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return self._con.execute(sql).fetchall()

    async def write(self, sql: str, file: str) -> int:
        """Write the rows of a statement to a Parquet file and return how many there were."""
        try:
            row = self._con.execute(f"COPY ({sql}) TO {literal(file)} (FORMAT parquet, COMPRESSION zstd)").fetchone()
        except duckdb.Error as error:
            raise TagstackError(f"{file} can't be written: {error}") from error
        return int(row[0]) if row else 0
