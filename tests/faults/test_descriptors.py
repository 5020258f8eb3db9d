"""What if a process has no file descriptor left? Refused or degraded, nothing is corrupt, and on again by itself."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.service import Up, running
from tests.e2e.test_up import descendants
from tests.examples_nats import client_of
from tests.faults.test_no_space import fill, goes_on

COMMANDS = 50


def processes(up: Up) -> list[int]:
    """Return `up` and everything below it: nats-server, the three workers, the processes for SQL."""
    assert up.process is not None
    return [up.process.pid, *descendants(up.process.pid)]


@contextmanager
def without_descriptors(pids: list[int]) -> Iterator[None]:
    """Let processes open nothing more; what they have open stays so."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            if Path(f"/proc/{pid}").exists():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """A whole service can open nothing: it refuses in words what it can't do, and goes on with descriptors again.

    Seen to fail when `ReadModelFile._guarded` let an OSError pass: the projector folded nothing any more.
    """
    with running(tmp_path / "home") as up:

        async def scenario() -> list[int]:
            async with client_of(up.endpoints["nats"]) as client:
                positions, _ = await fill(client, commands_max=COMMANDS)
                with without_descriptors(processes(up)):
                    more, _ = await fill(client, first=1_000, commands_max=COMMANDS)
                    refused = await asyncio.to_thread(up.run, "history", "prod/api:latest")
                assert refused.returncode == 3
                assert refused.stderr.startswith("error: no NATS server answers")
                await goes_on(client, positions + more)
                return positions + more

        positions = asyncio.run(scenario())
        rows = up.json("sql", "SELECT count(*) AS n FROM tag_history", "--min-position", str(max(positions)))
        assert rows[0]["n"] >= len(positions)
        told = up.run("verify")
        assert told.returncode == 0, told.stdout
