"""The SQL worker over a real nats-server: what any NATS client sees on `tagstack.sql.<actor>`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_sql import POSITION, ROWS, STATEMENT_ID
from tagstack.application.grants import Grants
from tagstack.apps.settings import Settings
from tagstack.apps.sql import SqlPart
from tests.integration.sql_examples import WAIT_S, write_snapshot

ENDLESS = "SELECT count(*) FROM range(100000000000) WHERE hash(range) = 1"


DEEP = b'{"sql": "SELECT ?", "params": [%s]}'


class Asked:
    """A statement on its way: its messages arrive in an inbox."""

    def __init__(self, nc: Client, inbox: str) -> None:
        self._nc = nc
        self._inbox = inbox
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self.count = 0

    async def messages(self) -> list[Msg]:
        """Return every message of the answer, the empty one last."""
        found: list[Msg] = []
        while not found or found[-1].data:
            found.append(await asyncio.wait_for(self._queue.get(), WAIT_S))
        return found

    async def arrived(self, msg: Msg) -> None:
        """Keep one message."""
        self.count += 1
        await self._queue.put(msg)


async def send(nc: Client, sql: str, *, actor: str = "ana", identity: str = "", **fields: Any) -> Asked:
    """Send a statement and return what its answer arrives in."""
    inbox = nc.new_inbox()
    asked = Asked(nc, inbox)
    await nc.subscribe(inbox, cb=asked.arrived)
    headers = {STATEMENT_ID: identity} if identity else None
    await nc.publish(f"tagstack.sql.{actor}", msgspec.json.encode({"sql": sql, **fields}), inbox, headers)
    return asked


async def ask(nc: Client, sql: str, **fields: Any) -> list[Any]:
    """Return the decoded messages of an answer but the empty one."""
    asked = await send(nc, sql, **fields)
    return [msgspec.json.decode(msg.data) for msg in (await asked.messages())[:-1]]


@asynccontextmanager
async def working(
    url: str, home: Path, grants: Grants | None = None, **fields: Any
) -> AsyncIterator[tuple[SqlPart, Client]]:
    """A SQL worker that runs, and a connection of someone else."""
    settings = Settings(home=str(home), **({"sql_memory_mb": 256, "sql_timeout_s": 10.0} | fields))
    nc, other = await connect(url, "worker"), await connect(url, "analyst")
    part = SqlPart(settings, grants or Grants(), CollectorRegistry())
    await part.start(nc)
    try:
        yield part, other
    finally:
        await part.stop()
        await other.close()
        await nc.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in a loop of its own."""
    asyncio.run(test)


async def until_running(part: SqlPart, count: int = 1) -> None:
    """Wait until so many statements run."""
    async with asyncio.timeout(WAIT_S):
        while len(part.processes.pids()) < count:  # noqa: ASYNC110  nothing tells when one starts
            await asyncio.sleep(0.01)


def test_json_is_columns_then_rows_then_nothing(nats_url: str, tmp_path: Path) -> None:
    """An answer is one message with the columns, messages of row arrays, and an empty message."""

    async def test() -> None:
        write_snapshot(tmp_path, 7)
        async with working(nats_url, tmp_path) as (_, nc):
            asked = await send(nc, "SELECT number, time FROM moves WHERE number < $below", params={"below": 2})
            head, rows, end = await asked.messages()
            assert msgspec.json.decode(head.data) == {
                "columns": [{"name": "number", "type": "BIGINT"}, {"name": "time", "type": "TIMESTAMP"}],
                "position": 7,
            }
            assert msgspec.json.decode(rows.data) == [
                [0, "2026-01-29T13:40:00.000000Z"],
                [1, "2026-01-29T13:40:00.000001Z"],
            ]
            assert end.data == b"" and end.headers == {POSITION: "7", ROWS: "2"}

    run(test())


def test_a_large_answer_comes_in_messages_of_bounded_size(nats_url: str, tmp_path: Path) -> None:
    """Rows come in order, in several messages, none of them near the server's limit."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path) as (_, nc):
            asked = await send(nc, "SELECT i, repeat('x', 100) FROM range(20000) r(i)")
            messages = await asked.messages()
            assert len(messages) > 5 and max(len(msg.data) for msg in messages) <= 256 * 1024
            rows = [row for msg in messages[1:-1] for row in msgspec.json.decode(msg.data)]
            assert [row[0] for row in rows] == list(range(20000))

    run(test())


def test_arrow_is_one_ipc_stream(nats_url: str, tmp_path: Path) -> None:
    """The bodies of an Arrow answer, one after the other, are an IPC stream with the types kept."""

    async def test() -> None:
        write_snapshot(tmp_path, 3)
        async with working(nats_url, tmp_path) as (_, nc):
            asked = await send(nc, "SELECT * FROM moves", format="arrow")
            messages = await asked.messages()
            table = pa.ipc.open_stream(b"".join(msg.data for msg in messages)).read_all()
            assert table.schema.field("time").type == pa.timestamp("us")
            assert table.column("number").to_pylist() == list(range(1000))
            assert messages[-1].headers == {POSITION: "3", ROWS: "1000"}

    run(test())


@pytest.mark.parametrize(
    ("body", "reason", "word"),
    [
        (b'{"sql": "SELECT a FROM events"}', "BadRequest", "LINE 1: SELECT a FROM events"),
        (b'{"sql": "SELECT ?", "params": [1, 2]}', "BadRequest", "arameter"),
        (b'{"sql": "SELECT 1", "format": "xml"}', "Invalid", "must be one of arrow, json"),
        (b'{"sql": "SELECT 1", "minPosition": -1}', "BadRequest", "minPosition"),
        (b'{"sql": "SELECT 1", "what": 1}', "Invalid", "what: "),
        (b"SELECT 1", "BadRequest", "can't be read"),
        (b"", "BadRequest", "can't be read"),
        pytest.param(DEEP % (b"[" * 9_999 + b"]" * 9_999), "BadRequest", "can't be read", id="too deep to read"),
        pytest.param(DEEP % (b"[" * 500 + b"]" * 500), "BadRequest", "", id="too deep to bind"),
        (b'{"sql": "SELECT repeat(\'x\', 9000000)"}', "RequestEntityTooLarge", "a message takes"),
    ],
)
def test_a_wrong_statement_is_a_status(nats_url: str, tmp_path: Path, body: bytes, reason: str, word: str) -> None:
    """An error is a Status with DuckDB's words, then an empty message without a row count."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path) as (_, nc):
            asked = Asked(nc, inbox := nc.new_inbox())
            await nc.subscribe(inbox, cb=asked.arrived)
            await nc.publish("tagstack.sql.ana", body, inbox)
            *_, status, end = await asked.messages()
            told = msgspec.json.decode(status.data)
            assert (told["kind"], told["status"], told["reason"]) == ("Status", "Failure", reason)
            assert word in told["message"]
            assert not end.headers

    run(test())


@pytest.mark.parametrize("format_", ["json", "arrow"])
def test_a_result_over_the_row_limit_says_so(nats_url: str, tmp_path: Path, format_: str) -> None:
    """Rows come up to the limit, then a Status names it, so that nobody takes a cut answer for a whole one."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path, sql_rows_max=1500) as (_, nc):
            *parts, status, _ = await (await send(nc, "FROM range(9000)", format=format_)).messages()
            told = msgspec.json.decode(status.data)
            assert told["code"] == 413 and "1500 rows (sql_rows_max)" in told["message"]
            if format_ == "json":
                assert sum(len(msgspec.json.decode(part.data)) for part in parts[1:]) == 1500
            exact = await (await send(nc, "FROM range(1500)", format=format_)).messages()
            assert exact[-1].headers[ROWS] == "1500"

    run(test())


def test_sql_is_a_cluster_wide_right(nats_url: str, tmp_path: Path) -> None:
    """With a grants file an actor needs the grant for every project."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        grants = Grants({"ana": ["*"], "bob": ["prod"]})
        async with working(nats_url, tmp_path, grants) as (_, nc):
            assert (await ask(nc, "SELECT 1"))[1] == [[1]]
            [status] = await ask(nc, "SELECT 1", actor="bob")
            assert status["reason"] == "Forbidden" and '"bob"' in status["message"]

    run(test())


def test_only_inboxes_and_canonical_names(nats_url: str, tmp_path: Path) -> None:
    """A reply subject that could be a log's gets no answer; another spelling of an actor is refused."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path) as (_, nc):
            seen = Asked(nc, "tagstack.events.a.b.stream")
            await nc.subscribe("tagstack.events.>", cb=seen.arrived)
            await nc.publish("tagstack.sql.ana", b'{"sql": "SELECT 1"}', "tagstack.events.a.b.stream")
            [status] = await ask(nc, "SELECT 1", actor="%61na")
            assert status["reason"] == "BadRequest" and "canonical" in status["message"]
            for _ in range(3):  # time enough for an answer that must not come
                assert (await ask(nc, "SELECT 1"))[1] == [[1]]
            assert seen.count == 0

    run(test())


def test_an_actor_cancels_its_own_statement(nats_url: str, tmp_path: Path) -> None:
    """An empty message with the statement's id stops it, if it comes from the same actor."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path, sql_timeout_s=60.0) as (part, nc):
            asked = await send(nc, ENDLESS, identity="mine")
            await until_running(part)
            await nc.publish("tagstack.sql.bob", b"", headers={STATEMENT_ID: "mine"})
            assert (await ask(nc, "SELECT 1", actor="bob"))[1] == [[1]]
            assert len(part.processes.pids()) == 1
            await nc.publish("tagstack.sql.ana", b"", headers={STATEMENT_ID: "mine"})
            [status, _] = await asked.messages()
            assert msgspec.json.decode(status.data)["reason"] == "Cancelled"
            assert (await ask(nc, "SELECT 1", identity="mine"))[1] == [[1]]

    run(test())


def test_stopping_tells_who_still_waits(nats_url: str, tmp_path: Path) -> None:
    """A statement that does not end within the shutdown bound is stopped, and its sender hears of it."""

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        async with working(nats_url, tmp_path, sql_timeout_s=60.0, shutdown_timeout_s=1.0) as (part, nc):
            asked = await send(nc, ENDLESS)
            await until_running(part)
            await part.stop()
            [status, _] = await asked.messages()
            assert msgspec.json.decode(status.data)["reason"] == "Cancelled"
            assert part.why_not_ready() == "the SQL worker has not started"

    run(test())


def test_is_ready_once_there_is_a_snapshot(nats_url: str, tmp_path: Path) -> None:
    """Before the first snapshot a statement is told to come back; the worker is not ready."""

    async def test() -> None:
        async with working(nats_url, tmp_path) as (part, nc):
            assert "no snapshot" in part.why_not_ready()
            [status] = await ask(nc, "SELECT 1")
            assert status["code"] == 503 and "no snapshot" in status["message"]
            write_snapshot(tmp_path, 1)
            assert part.why_not_ready() == ""
            assert (await ask(nc, "SELECT 1"))[1] == [[1]]

    run(test())
