"""The processes behind the SQL worker: killed, crowded, on old and new snapshots, within their memory."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import duckdb
import pytest

from tagstack.adapters.sql_processes import PROCESSES_MAX
from tagstack.application.statements import STATEMENTS_MAX, STATEMENTS_PER_ACTOR_MAX, Piece
from tagstack.apps.sql_runner import NICENESS
from tagstack.domain.errors import Timeout, TooManyRequests, Unavailable
from tests.integration.sql_examples import ROWS, WAIT_S, Answer, Service, switch, write_snapshot

ENDLESS = "SELECT count(*) FROM range(100000000000) WHERE hash(range) = 1"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service on a snapshot at position 5."""
    write_snapshot(tmp_path, 5)
    service = Service(tmp_path, timeout_s=20)
    yield service
    service.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Service]:
    """A service that waits for a second and no longer, with no snapshot yet."""
    service = Service(tmp_path, timeout_s=1)
    yield service
    service.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so, within a bound."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110  what is watched is outside the loop
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Return whether a process is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def peak_bytes(pid: int) -> int:
    """Return the most memory a process ever held."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def test_a_process_killed_in_mid_statement_is_told_and_replaced(service: Service) -> None:
    """kill -9 during a statement: its sender is told to ask again, and asking again works."""

    async def test() -> None:
        asked = asyncio.create_task(service.asked(ENDLESS))
        await until(lambda: bool(service.processes.pids()))
        os.kill(service.processes.pids()[0], signal.SIGKILL)
        with pytest.raises(Unavailable, match="killed from outside"):
            await asked
        assert (await service.asked("SELECT 1")).rows == [[1]]

    service.loop.run(test())


def test_an_idle_process_that_died_is_not_noticed_by_the_next_statement(service: Service) -> None:
    """kill -9 between two statements: the second one gets another process."""
    service.ask("SELECT 1")
    [idle] = service.processes._idle
    os.kill(idle.pid, signal.SIGKILL)
    service.loop.run(until(lambda: idle._process.returncode is not None))
    assert service.ask("SELECT 2").rows == [[2]]


def test_statements_give_way_to_the_projector(service: Service) -> None:
    """A process has a low priority, and so has its session where the system shares out time by sessions.

    Seen to fail when `_give_way` leaves the session as it is.
    """
    service.ask("SELECT 1")
    [idle] = service.processes._idle
    assert os.getpriority(os.PRIO_PROCESS, idle.pid) >= NICENESS
    if (group := Path(f"/proc/{idle.pid}/autogroup")).exists():
        assert group.read_text().split()[-1] == str(NICENESS)


def test_processes_die_with_their_worker(tmp_path: Path) -> None:
    """kill -9 of the worker leaves no process behind, not even one in the middle of a statement."""
    write_snapshot(tmp_path, 1)
    program = f"""
import asyncio, pathlib, sys
from tests.integration.sql_examples import Service
from tests.integration.test_sql_processes import ENDLESS, until
service = Service(pathlib.Path({str(tmp_path)!r}), timeout_s=60)
async def main():
    asked = asyncio.create_task(service.asked(ENDLESS))
    await until(lambda: bool(service.processes.pids()))
    print(service.processes.pids()[0], flush=True)
    await asked
service.loop.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert not gone(pid)
        worker.kill()
    asyncio.run(until(lambda: gone(pid)))


def test_one_slow_analyst_does_not_block_another(service: Service) -> None:
    """However many slow statements one actor sends, another one's is answered, and the loop stays free."""

    async def test() -> None:
        slow = [asyncio.create_task(service.asked(ENDLESS)) for _ in range(6)]
        await until(lambda: len(service.processes.pids()) == STATEMENTS_PER_ACTOR_MAX)
        assert (await service.asked("SELECT 1", actor="bob")).rows == [[1]]
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)
        assert service.statements.in_flight == 0

    service.loop.run(test())


def test_over_the_bound_statements_are_refused_at_once(service: Service) -> None:
    """So many statements run or wait, the next one is told to come back."""

    async def test() -> None:
        waiting = [asyncio.create_task(service.asked(ENDLESS)) for _ in range(STATEMENTS_MAX)]
        await until(lambda: service.statements.in_flight == STATEMENTS_MAX)
        with pytest.raises(TooManyRequests, match=str(STATEMENTS_MAX)):
            await service.asked("SELECT 1", actor="bob")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert (await service.asked("SELECT 1", actor="bob")).rows == [[1]]

    service.loop.run(test())


def test_who_finds_no_process_in_time_is_told(hasty: Service) -> None:
    """Waiting for a process is bounded too, and is no fault of the statement."""

    async def test() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(PROCESSES_MAX):
                await stack.enter_async_context(hasty.processes.taken())
            with pytest.raises(TooManyRequests, match=r"no process .* 1 s"):
                await hasty.asked("SELECT 1")
        assert hasty.statements.in_flight == 0

    hasty.loop.run(test())


def test_min_position_waits_for_a_newer_snapshot(service: Service, tmp_path: Path) -> None:
    """Whoever wrote position 9 and asks for it gets an answer that includes it."""

    async def test() -> None:
        asked = asyncio.create_task(service.asked("SELECT max(position) FROM checkpoint", minPosition=9))
        await until(lambda: bool(service.processes._idle))
        assert not asked.done()
        write_snapshot(tmp_path, 8)
        write_snapshot(tmp_path, 12)
        answer = await asked
        assert answer.rows == [[12]] and answer.ended is not None and answer.ended.position == 12

    service.loop.run(test())


def test_min_position_gives_up_with_both_positions(hasty: Service, tmp_path: Path) -> None:
    """A position that does not come in time is a Timeout that names where the snapshot stands."""
    with pytest.raises(Timeout, match=r"position 0 .* minPosition 9 within 1 s \(sql_timeout_s\)"):
        hasty.ask("SELECT 1", minPosition=9)
    write_snapshot(tmp_path, 5)
    with pytest.raises(Timeout, match=r"position 5 .* minPosition 9 within 1 s \(sql_timeout_s\)"):
        hasty.ask("SELECT 1", minPosition=9)
    assert hasty.ask("SELECT 1", minPosition=5).rows == [[1]]


def test_a_statement_sees_the_newest_snapshot(service: Service, tmp_path: Path) -> None:
    """A switched snapshot is opened at the next statement, the old one's files may be gone by then."""
    assert service.ask("SELECT count(*) FROM events").rows == [[5]]
    write_snapshot(tmp_path, 6)
    shutil.rmtree(tmp_path / "live/snapshot-5")
    assert service.ask("SELECT count(*) FROM events").rows == [[6]]
    shutil.rmtree(tmp_path / "live/snapshot-6")
    with pytest.raises(Unavailable, match="no snapshot"):
        service.ask("SELECT count(*) FROM events")


def test_a_snapshot_may_have_a_write_ahead_log(service: Service, tmp_path: Path) -> None:
    """What stands only in the `.wal` beside a snapshot is read too."""
    connection = duckdb.connect(str(tmp_path / "writer.duckdb"))
    connection.execute("SET wal_autocheckpoint = '1GB'")
    connection.execute("CREATE TABLE checkpoint (position UBIGINT, log VARCHAR, event_id VARCHAR)")
    connection.execute("CHECKPOINT")
    connection.execute("INSERT INTO checkpoint VALUES (77, '', '')")
    folder = tmp_path / "live/with-wal"
    folder.mkdir()
    for suffix in ("", ".wal"):
        shutil.copy(tmp_path / f"writer.duckdb{suffix}", folder / f"tagstack.duckdb{suffix}")
    connection.close()
    switch(tmp_path, folder)
    answer = service.ask("FROM checkpoint", minPosition=77)
    assert answer.rows == [[77, "", ""]]


@pytest.mark.parametrize("format_", ["json", "arrow"])
def test_a_million_rows_need_no_million_rows_in_memory(service: Service, format_: str) -> None:
    """Neither the worker nor the process holds more than a small part of a large answer."""
    sizes: list[int] = []
    peaks: list[int] = []

    async def slow_reader(piece: Piece) -> None:
        sizes.append(len(piece.body))
        if len(sizes) % 100 == 0:
            [pid] = service.processes.pids()
            peaks.append(peak_bytes(pid))

    async def test() -> int:
        body = b'{"sql": "SELECT i, repeat(\'x\', 300) FROM range(%d) r(i)", "format": "%s"}'
        ended = await service.statements.answer("ana", body % (ROWS, format_.encode()), 1 << 20, slow_reader)
        return ended.rows

    service.ask("SELECT 1", format=format_)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert service.loop.run(test()) == ROWS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert sum(sizes) > 300 * ROWS
    assert grown < 100 * ROWS and max(peaks) < 250 * 1024 * 1024


def test_a_requester_that_stands_still_is_left_after_the_limit(hasty: Service, tmp_path: Path) -> None:
    """The time limit covers the delivery: who takes no rows does not keep the statement running."""
    write_snapshot(tmp_path, 1)

    async def stuck(piece: Piece) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Timeout):
        hasty.loop.run(hasty.statements.answer("ana", b'{"sql": "FROM range(100000)"}', 1 << 20, stuck))
    assert hasty.processes.pids() == []


def test_an_answer_is_what_was_asked(service: Service) -> None:
    """Two statements at once never mix their rows."""

    async def test() -> list[Answer]:
        return await asyncio.gather(*(service.asked(f"SELECT {n} FROM range(500)", actor=f"a{n}") for n in range(6)))

    for number, answer in enumerate(service.loop.run(test())):
        assert answer.rows == [[number]] * 500
