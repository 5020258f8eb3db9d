"""Exports over NATS, for those without the snapshot's file: each relation is one statement, answered as Arrow.

The service's limits on rows and time hold for each statement; events are asked for by the day.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_sql_client import Question, SqlAnswer


class ServiceSource:
    """The read models behind the SQL worker; every statement includes the position of the first one."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._position = 0

    async def stand(self) -> tuple[str, int]:
        """Return the log's identity and the position the read models have reached."""
        self._position = await self._client.log_position() or 0
        (row,) = await self.rows("SELECT log, position FROM checkpoint")
        self._position = int(row[1])
        return str(row[0]), self._position

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        async with SqlAnswer(self._client, self._question(sql, "json")) as answer:
            return [tuple(row) for piece in [piece async for piece in answer.pieces()] for row in json.loads(piece)]

    async def write(self, sql: str, file: str) -> int:
        """Write the rows of a statement to a Parquet file and return how many there were."""
        with tempfile.NamedTemporaryFile(dir=Path(file).parent, prefix=".", suffix=".part") as arrived:
            async with SqlAnswer(self._client, self._question(sql, "arrow")) as answer:
                async for piece in answer.pieces():
                    arrived.write(piece)
            arrived.flush()
            return _to_parquet(arrived.name, file)

    def _question(self, sql: str, form: str) -> Question:
        return Question(sql, format=form, min_position=self._position)


def _to_parquet(spool: str, file: str) -> int:
    """Write an Arrow stream as Parquet, a batch at a time."""
    rows = 0
    with (
        pa.ipc.open_stream(pa.memory_map(spool)) as stream,
        pq.ParquetWriter(file, stream.schema, compression="zstd") as writer,
    ):
        for batch in stream:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
