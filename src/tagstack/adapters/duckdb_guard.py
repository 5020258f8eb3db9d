"""Runs one statement of a stranger on a snapshot: one SELECT, read-only, bounded in memory and rows.

Time is not bounded here: whoever waits for the answer kills the process (`sql_processes`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import duckdb
import msgspec
import pyarrow as pa  # type: ignore[import-untyped]

from tagstack.adapters.duckdb_json import RowEncoder, cast_type
from tagstack.application.quoting import identifier
from tagstack.application.statements import Statement
from tagstack.domain.errors import BadRequest, TooLarge

ROWS_PER_FETCH = 1_024
CHUNK_BYTES_AIM = 256 * 1024
ALLOWED = ("SELECT", "EXPLAIN", "MULTI")  # a PIVOT is parsed as MULTI: it looks for its columns first

# read-only a second time: an INSERT inside a WITH is part of a SELECT
_BEGIN = "BEGIN TRANSACTION READ ONLY"

_encode = msgspec.json.Encoder().encode


class Rows:
    """The answer to a statement, as chunks no larger than `bytes_max`; `sent` counts the rows."""

    def __init__(self, session: duckdb.DuckDBPyConnection, rows_max: int, bytes_max: int) -> None:
        self._session = session
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._aim = min(CHUNK_BYTES_AIM, bytes_max)
        self.sent = 0

    def chunks(self, statement: Statement, position: int) -> Iterator[bytes]:
        """Run a statement and yield its answer in the format it asks for.

        Raises: BadRequest for what is not one SELECT, TooLarge over a limit, and DuckDB's own errors.
        """
        kind = _check(self._session, statement.sql)
        self._session.execute(_BEGIN)
        if statement.format == "arrow":
            # pyarrow writes the schema when it likes to, and an empty message would be the end
            yield from filter(None, self._arrow(statement))
        else:
            yield from self._json(statement, kind, position)

    def _json(self, statement: Statement, kind: str, position: int) -> Iterator[bytes]:
        columns, text = self._columns(statement, kind)
        self._session.execute(text, statement.params)
        found = self._session.description or []
        told = columns or [(name, str(type_)) for name, type_, *_ in found]
        yield _encode({"columns": [{"name": name, "type": type_} for name, type_ in told], "position": position})
        encoder = RowEncoder([column[1] for column in found])
        while rows := self._session.fetchmany(ROWS_PER_FETCH):
            yield from self._joined(encoder.encode(row) for row in self._counted(rows))
            self._check_count()

    def _columns(self, statement: Statement, kind: str) -> tuple[list[tuple[str, str]], str]:
        """Return the columns, and the statement with those cast that Python would read with a loss."""
        if kind != "SELECT":
            return [], statement.sql
        relation = self._relation(statement)
        columns = list(zip(relation.columns, relation.types, strict=True))
        casts = [cast_type(type_) for _, type_ in columns]
        told = [(name, str(type_)) for name, type_ in columns]
        if not any(casts):
            return told, statement.sql
        listed = ", ".join(
            f"CAST(#{number} AS {cast}) AS {identifier(name)}" if cast else f"#{number}"
            for number, (cast, (name, _)) in enumerate(zip(casts, columns, strict=True), 1)
        )
        return told, f"SELECT {listed} FROM (\n{_without_end(statement.sql)}\n)"  # noqa: S608  strangers' SQL is what this runs

    def _relation(self, statement: Statement) -> duckdb.DuckDBPyRelation:
        """Return a statement bound but not run yet."""
        try:
            return self._session.sql(statement.sql, params=statement.params)
        except duckdb.ProgrammingError:
            # only when it is executed does DuckDB say where in the text it is wrong
            self._session.execute("ROLLBACK")
            self._session.execute(_BEGIN)
            self._session.execute(statement.sql, statement.params)
            raise

    def _joined(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        waiting: list[bytes] = []
        size = 0
        for row in rows:
            if len(row) + 2 > self._bytes_max:
                raise _too_wide(len(row), self._bytes_max)
            if waiting and size + len(row) + 2 > self._aim:
                yield b"[" + b",".join(waiting) + b"]"
                waiting, size = [], 0
            waiting.append(row)
            size += len(row) + 1
        if waiting:
            yield b"[" + b",".join(waiting) + b"]"

    def _arrow(self, statement: Statement) -> Iterator[bytes]:
        relation = self._relation(statement)
        reader = relation.to_arrow_reader(ROWS_PER_FETCH)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, reader.schema) as writer:
            yield _taken(sink)
            for batch in reader:
                allowed = batch.slice(0, self._rows_max - self.sent)
                for part in self._parts(allowed):
                    writer.write_batch(part)
                    yield self._fitting(sink)
                self.sent += batch.num_rows
                self._check_count()
        yield _taken(sink)

    def _parts(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        if batch.num_rows <= 1 or batch.nbytes <= self._aim:
            yield batch
            return
        half = batch.num_rows // 2
        yield from self._parts(batch.slice(0, half))
        yield from self._parts(batch.slice(half))

    def _fitting(self, sink: io.BytesIO) -> bytes:
        body = _taken(sink)
        if len(body) > self._bytes_max:
            raise _too_wide(len(body), self._bytes_max)
        return body

    def _counted(self, rows: list[Any]) -> list[Any]:
        allowed = rows[: self._rows_max - self.sent]
        self.sent += len(rows)
        return allowed

    def _check_count(self) -> None:
        if self.sent > self._rows_max:
            raise TooLarge(f"the result has more than {self._rows_max} rows (sql_rows_max): the rest is cut off")


def _check(session: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = session.extract_statements(sql)
        kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
    except ValueError as error:  # a statement the Python client has no name for
        raise BadRequest(f"the statement is not allowed: {error}") from None
    if len(kinds) != 1:
        raise BadRequest(f"exactly one statement is expected, got {len(kinds)}")
    if kinds[0] not in ALLOWED:
        raise BadRequest(f"only SELECT and EXPLAIN are allowed, got {kinds[0]}")
    return kinds[0]


def _without_end(sql: str) -> str:
    """Return a single statement without its semicolon and what follows."""
    text = sql.encode()
    for offset, token in duckdb.tokenize(sql):
        if token == duckdb.token_type.operator and text[offset : offset + 1] == b";":
            return text[:offset].decode()
    return sql


def _taken(sink: io.BytesIO) -> bytes:
    body = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return body


def _too_wide(size: int, bytes_max: int) -> TooLarge:
    return TooLarge(f"a row has {size} bytes, a message takes {bytes_max}: select fewer columns or parts of them")
