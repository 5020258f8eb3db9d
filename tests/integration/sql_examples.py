"""Snapshots and a runner of statements for the tests of the SQL worker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import duckdb
import msgspec

from tagstack.adapters.sql_frames import RunnerOptions
from tagstack.adapters.sql_processes import SqlProcesses
from tagstack.application.grants import Grants
from tagstack.application.statements import Ended, Piece, Statement, Statements

ROWS = 1_000_000
PIECE_BYTES_MAX = 1024 * 1024
WAIT_S = 20.0


def write_snapshot(home: Path, position: int, *, name: str = "") -> Path:
    """Write a snapshot that stands at a position, and switch the live name to it."""
    folder = home / "live" / (name or f"snapshot-{position}")
    folder.mkdir(parents=True)
    with duckdb.connect(str(folder / "tagstack.duckdb")) as connection:
        connection.execute("CREATE TABLE checkpoint (position UBIGINT, log VARCHAR, event_id VARCHAR)")
        connection.execute("INSERT INTO checkpoint VALUES (?, 'log', 'event')", [position])
        connection.execute(
            f"CREATE TABLE events AS SELECT i AS position, 'prod' AS namespace FROM range({position}) r(i)"
        )
        connection.execute(
            "CREATE TABLE moves AS SELECT i AS number, 'tag ' || i AS tag,"
            " TIMESTAMP '2026-01-29 13:40:00' + to_microseconds(i) AS time FROM range(1000) r(i)"
        )
    switch(home, folder)
    return folder


def switch(home: Path, folder: Path) -> None:
    """Point the live name at a snapshot at once, as the projector does."""
    fresh = home / "live" / ".switch"
    fresh.symlink_to(folder / "tagstack.duckdb")
    os.replace(fresh, home / "live" / "tagstack.duckdb")


class Answer:
    """What one statement came to."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.ended: Ended | None = None

    async def deliver(self, piece: Piece) -> None:
        """Keep one piece."""
        self.pieces.append(piece)

    @property
    def columns(self) -> dict[str, str]:
        """The columns' types by name."""
        return {column["name"]: column["type"] for column in msgspec.json.decode(self.pieces[0].body)["columns"]}

    @property
    def rows(self) -> list[list[object]]:
        """All rows of a JSON answer."""
        return [row for piece in self.pieces[1:] for row in msgspec.json.decode(piece.body)]


class Service:
    """Statements on a home of its own, answered by real processes, driven from plain test functions."""

    def __init__(self, home: Path, *, timeout_s: float = 5.0, memory_mb: int = 256, rows_max: int = ROWS) -> None:
        options = RunnerOptions(str(home / "live" / "tagstack.duckdb"), memory_mb, rows_max)
        self.loop = asyncio.Runner()
        self.processes = SqlProcesses(options)
        self.statements = Statements(self.processes, Grants(), timeout_s)

    def ask(self, sql: str, **fields: object) -> Answer:
        """Return the answer to a statement. Raises what the worker would answer with."""
        return self.loop.run(self.asked(sql, **fields))

    async def asked(self, sql: str, actor: str = "ana", **fields: object) -> Answer:
        """Return the answer to a statement, from inside the loop."""
        answer = Answer()
        body = msgspec.json.encode(msgspec.convert({"sql": sql, **fields}, Statement))
        answer.ended = await self.statements.answer(actor, body, PIECE_BYTES_MAX, answer.deliver)
        return answer

    def close(self) -> None:
        """Kill the processes."""
        self.loop.run(self.processes.stop())
        self.loop.close()
