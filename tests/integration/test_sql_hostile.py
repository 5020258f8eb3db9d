"""A stranger's SQL is harmless: every hostile statement through the real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagstack.domain.errors import BadRequest, Timeout, TooLarge
from tests.integration import hostile
from tests.integration.sql_examples import Service, write_snapshot


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one snapshot."""
    folder = tmp_path_factory.mktemp("hostile")
    write_snapshot(folder, 5)
    return folder


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[Service]:
    """One service for all: what a statement leaves behind would hurt the next one."""
    service = Service(home, timeout_s=20, memory_mb=128)
    yield service
    service.close()


@pytest.fixture
def hasty(home: Path) -> Iterator[Service]:
    """A service that gives a statement a second."""
    service = Service(home, timeout_s=1, memory_mb=128)
    yield service
    service.close()


def short(value: str) -> str:
    """Return a statement as it may stand in a list of tests."""
    return value[:60]


def check_unharmed(service: Service) -> None:
    """The next statement works, and everything is still there."""
    answer = service.ask("SELECT count(*), (SELECT count(*) FROM moves) FROM events")
    assert answer.rows == [[5, 1000]]


def test_there_are_at_least_sixty() -> None:
    """The list is as long as it was promised to be."""
    lists = (hostile.NOT_ONE_SELECT, hostile.A_SELECT_THAT_MUST_NOT, hostile.HARMLESS)
    assert sum(map(len, (*lists, hostile.TOO_MUCH_MEMORY, hostile.TOO_MUCH_TIME))) >= 100


@pytest.mark.parametrize(("sql", "word"), hostile.NOT_ONE_SELECT + hostile.A_SELECT_THAT_MUST_NOT, ids=short)
def test_is_refused(service: Service, home: Path, sql: str, word: str) -> None:
    """Writing, files, network, extensions and settings are refused, and nothing is left behind."""
    before = sorted(path.name for path in home.rglob("*"))
    with pytest.raises(BadRequest) as refused:
        service.ask(sql.replace(hostile.SNAPSHOT, str((home / "live/tagstack.duckdb").resolve())))
    assert word in refused.value.message
    assert sorted(path.name for path in home.rglob("*")) == before
    check_unharmed(service)


@pytest.mark.parametrize(("sql", "rows"), hostile.HARMLESS)
def test_is_harmless(service: Service, sql: str, rows: list[list[object]]) -> None:
    """What looks dangerous and is not gets its plain answer."""
    assert service.ask(sql).rows == rows
    check_unharmed(service)


@pytest.mark.parametrize("sql", hostile.TOO_MUCH_MEMORY)
def test_a_memory_bomb_is_told_its_limit(service: Service, sql: str) -> None:
    """A statement over the memory limit ends with an error that names it; the next one works."""
    with pytest.raises(TooLarge, match=r"128 MB.*sql_memory_mb"):
        service.ask(sql)
    check_unharmed(service)


@pytest.mark.parametrize("sql", hostile.TOO_MUCH_TIME)
def test_a_cpu_bomb_is_told_its_limit(hasty: Service, sql: str) -> None:
    """A statement over the time limit is killed with an error that names it; the next one works."""
    with pytest.raises(Timeout, match=r"1 s \(sql_timeout_s\)"):
        hasty.ask(sql)
    assert hasty.processes.killed == 1
    check_unharmed(hasty)


def test_the_processes_see_no_environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a statement that broke out would find a secret in the environment."""
    service.ask("SELECT 1")
    [process] = service.processes._idle
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert [entry for entry in environment if entry] == [b"MALLOC_ARENA_MAX=2"]
