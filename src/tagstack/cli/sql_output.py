"""Prints the answers of SQL statements as they arrive, so that a million rows need no memory."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from tagstack.adapters.nats_sql_client import Column, Question, SqlAnswer
from tagstack.cli.fitting import Narrow
from tagstack.cli.output import say
from tagstack.cli.tables import JsonRows, Table

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient


EXPLAINED = ["explain_key", "explain_value"]  # the columns that DuckDB answers EXPLAIN with
VALUE_WIDTH_MIN = 20  # where a terminal has not even that for each column, every value has a line of its own


class _Rows(Protocol):
    def add(self, row: list[Any]) -> None: ...
    def end(self) -> None: ...


class _JsonAnswer:
    """Rows as objects; of two columns with one name the later is called `name_1`, as DuckDB does."""

    def __init__(self, columns: list[Column]) -> None:
        self._names = unique([column.name for column in columns])
        self._rows = JsonRows()

    def add(self, row: list[Any]) -> None:
        self._rows.add(dict(zip(self._names, row, strict=True)))

    def end(self) -> None:
        self._rows.end()


class _CsvAnswer:
    def __init__(self, columns: list[Column]) -> None:
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def add(self, row: list[Any]) -> None:
        self._writer.writerow([_csv_value(value) for value in row])

    def end(self) -> None:
        return


class _Plan:
    """A plan that EXPLAIN drew: its lines as they are, no table around them."""

    def add(self, row: list[Any]) -> None:
        for line in str(row[-1]).splitlines():
            say(line)

    def end(self) -> None:
        return


def unique(names: list[str]) -> list[str]:
    """Return names in which none stands twice."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, candidate = 0, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        found.append(candidate)
    return found


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _printer(form: str, columns: list[Column]) -> _Rows:
    if form == "json":
        return _JsonAnswer(columns)
    if form == "csv":
        return _CsvAnswer(columns)
    names = [column.name for column in columns]
    if names == EXPLAINED:
        return _Plan()
    return Table(names, null="NULL", narrow=Narrow(least=VALUE_WIDTH_MIN, records=True))


async def answer(client: ServiceClient, statement: str, min_position: int, form: str) -> int:
    """Ask and print the answer; return how many rows it had."""
    if form == "parquet":
        return await _parquet(client, statement, min_position)
    count = 0
    async with SqlAnswer(client, Question(statement, min_position=min_position)) as found:
        printer = _printer(form, found.columns)
        async for row in found.rows():
            printer.add(row)
            count += 1
        printer.end()
    return count


async def _parquet(client: ServiceClient, statement: str, min_position: int) -> int:
    """Write the answer as Parquet, batch by batch; a pipe joins the pieces into Arrow's stream."""
    reading, writing = os.pipe()
    async with SqlAnswer(client, Question(statement, format="arrow", min_position=min_position)) as found:
        written = asyncio.ensure_future(asyncio.to_thread(_write_parquet, reading))
        try:
            with os.fdopen(writing, "wb") as pipe:
                async for piece in found.pieces():
                    await asyncio.to_thread(_put, pipe, piece)
        except BaseException:
            written.cancel()
            raise
        return await written


def _put(pipe: BinaryIO, piece: bytes) -> None:
    pipe.write(piece)
    pipe.flush()


def _write_parquet(reading: int) -> int:
    """Write what comes from a file descriptor as an Arrow stream to stdout; return how many rows it had."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    count = 0
    with os.fdopen(reading, "rb") as source, pa.ipc.open_stream(source) as batches:
        writer = pq.ParquetWriter(pa.PythonFile(sys.stdout.buffer, mode="w"), batches.schema)
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
        writer.close()
    sys.stdout.buffer.flush()
    return count
