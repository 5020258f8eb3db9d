"""Finds what came twice among very many keys: 16 bytes for each, sorted out by DuckDB at the end."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

_REPEATED = """
SELECT first, position
  FROM (SELECT position, min(position) OVER (PARTITION BY key) AS first
          FROM seen WHERE key IN (SELECT key FROM seen GROUP BY key HAVING count(*) > 1))
 WHERE position > first ORDER BY position
"""


class Once:
    """Keys by their 64-bit hash: among ten million the chance of a false finding is one in 300,000."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._positions = array("Q")

    def add(self, key: str, position: int) -> None:
        """Remember that `key` came at a position."""
        self._keys.append(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()))
        self._positions.append(position)

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Return, for each key that came again, where it came first and where again."""
        columns = {"key": self._keys, "position": self._positions}
        buffers = {name: pa.py_buffer(values.tobytes()) for name, values in columns.items()}
        count = len(self._keys)
        table = pa.table(
            {name: pa.Array.from_buffers(pa.uint64(), count, [None, buffer]) for name, buffer in buffers.items()}
        )
        with duckdb.connect() as con:
            con.register("seen", table)
            yield from con.execute(_REPEATED).fetchall()
