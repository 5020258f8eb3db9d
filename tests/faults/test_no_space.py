"""What if there is no space left, or the store can't be written? Refused with a hint, and on again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters import nats_append
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream, stream_info
from tagstack.application import building
from tagstack.apps import verify
from tests.e2e.service import running
from tests.examples_nats import Json, ask, check_chain, client_of, log_of, mapping, run, until, worker
from tests.faults.test_lost_tail import complaints
from tests.integration.reading import in_a_loop, tagged
from tests.integration.test_compaction import file, projector
from tests.integration.test_projector import client as compaction_client
from tests.integration.test_projector import position, publish
from tests.integration.test_projector import until as until_so

COMMANDS_MAX = 3_000
SETTLE_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 3.0
ACCOUNT_BYTES = 400_000
TMPFS_BYTES = 96 * 1024 * 1024
LARGER_BYTES = 1024 * 1024 * 1024
LARGE_EVENTS, LARGE_EVENT_BYTES = 30, 200_000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: Any) -> None:
    """Wait less for what will never come."""
    monkeypatch.setattr(nats_append, "ACK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(verify, "TAGS_WAIT_S", 2.0)


async def fill(client: Client, first: int = 1, commands_max: int = 0) -> tuple[list[int], Json]:
    """Push until a push is refused, or so often; return the positions of those that were not, and the last answer."""
    positions: list[int] = []
    answer: Json = {}
    for number in range(first, first + (commands_max or COMMANDS_MAX)):
        try:
            answer = await ask(client, "prod.api", mapping("api", number))
        except NatsError:
            continue  # the server takes its time to find out that it can't write
        if answer["status"] == "Failure":
            return positions, answer
        positions.append(answer["details"]["position"])
    assert commands_max, f"{COMMANDS_MAX} commands found room"
    return positions, answer


def check_refusal(answer: Json) -> None:
    """Check that a refusal says what it is about and when to try again."""
    assert (answer["reason"], answer["code"]) == ("ServiceUnavailable", 503), answer
    assert answer["details"]["retryAfterSeconds"] >= 1
    assert answer["message"]


async def goes_on(client: Client, positions: list[int]) -> None:
    """Check that commands are taken again, that nothing acknowledged is lost, and nothing is corrupt."""

    async def taken() -> bool:
        with contextlib.suppress(NatsError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return bool((await ask(client, "prod.api", mapping("api", 9_999)))["status"] == "Success")
        return False

    await until(taken, SETTLE_TIMEOUT_S)
    tagged = await log_of(client, "tagstack.events.*.*.tag.*")
    check_chain(tagged)
    assert set(positions) <= {event.position for event in tagged}
    assert await complaints(client) == []


def test_the_log_is_at_its_bound(nats_url: str) -> None:
    """An operator's `max_bytes` is reached: refused, saying so; commands go on once it is raised.

    Seen to fail when `replies.failure` gives no hint when to try again.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 0))
            config = (await stream_info(client, EVENTS_STREAM))["config"]
            await jetstream(client, f"STREAM.UPDATE.{EVENTS_STREAM}", config | {"max_bytes": ACCOUNT_BYTES})
            positions, refusal = await fill(client)
            check_refusal(refusal)
            assert "maximum bytes exceeded" in refusal["message"]
            assert (await ask(client, "prod.api", {"kind": "HoldTag", "metadata": {"name": "api:none"}}))["code"] == 404
            await jetstream(client, f"STREAM.UPDATE.{EVENTS_STREAM}", config | {"max_bytes": -1})
            await goes_on(client, positions)

    run(scenario)


def test_the_server_is_out_of_storage(tmp_path: Path) -> None:
    """JetStream's own bound is reached: refused, and on again after a restart of the server with more of it.

    Seen to fail when `replies.failure` gives no hint when to try again.
    """
    server = NatsServer(tmp_path / "nats", ServerOptions(sync_interval='1s", max_file_store: "400K')).start()

    async def scenario() -> None:
        async with worker(server.url), client_of(server.url) as client:
            positions, refusal = await fill(client)
            check_refusal(refusal)
            assert "insufficient resources" in refusal["message"]
            server.stop()
            server.options = ServerOptions()
            server.start()
            await goes_on(client, positions)

    try:
        run(scenario)
    finally:
        server.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path, leave_bytes: int = 0) -> Path:
    """Take all the space that is left, or all but some of it, and return the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4_096))
    os.truncate(ballast, ballast.stat().st_size - leave_bytes)
    return ballast


def enlarge(folder: Path) -> None:
    """Give the file system room."""
    subprocess.run(["mount", "-o", f"remount,size={LARGER_BYTES}", str(folder)], check=True)


def test_the_disk_is_full(small_disk: Path) -> None:
    """A whole service on a full disk: commands are refused; with room again all of it goes on by itself.

    Seen to fail when `room.watch_room` does not stop the server, and when `Projector._follow_live` goes on with a file
    whose commit or checkpoint found no room: DuckDB does not let it be used again.
    """
    push = {"apiVersion": "v1", **mapping("api", 1), "metadata": {"name": "api", "namespace": "prod"}}
    with running(small_disk / "home") as up:
        assert up.run("apply", "-f", "-", stdin=json.dumps(push)).returncode == 0

        async def scenario() -> list[int]:
            async with client_of(up.endpoints["nats"]) as client:
                positions, _ = await fill(client, commands_max=50)
                ballast = fill_disk(small_disk)
                more, refusal = await fill(client, first=1_000)
                check_refusal(refusal)
                ballast.unlink()
                await goes_on(client, positions + more)
                return positions + more

        positions = asyncio.run(scenario())
        told = up.run("verify")
        assert told.returncode == 0, told.stdout
        rows = up.json("sql", "SELECT count(*) AS n FROM tag_history", "--min-position", str(max(positions)))
        assert rows[0]["n"] > len(positions)


@in_a_loop
async def test_a_compaction_waits_for_room(nats_url: str, small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without room for a second file it does not begin, and says so once; with room it does. Events go on meanwhile.

    Seen to fail when `ReadModelFiles.copy` does not look at the disk, and when `Compaction.gave_up` logs every time.
    """
    async with compaction_client(nats_url) as nc:
        await publish(nc, 1, 30)
        async with projector(nc, small_disk) as projecting:
            await until_so(lambda: "MB of disk" in projecting.state()["compactionWaits"])
            for last in range(31, 41):
                await publish(nc, last, last)
                await until_so(lambda last=last: position(small_disk) == last)  # type: ignore[misc]
            assert projecting.unsorted == 40
            enlarge(small_disk)
            await until_so(lambda: projecting.unsorted == 0 and projecting.state()["compactionWaits"] == "")
            assert position(small_disk) == 40
    assert len([record for record in caplog.records if "stay unsorted" in record.message]) == 1


@in_a_loop
async def test_a_build_that_finds_the_disk_full_begins_anew(
    nats_url: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB gives up a file whose checkpoint found no room: with room another one is built; the live one goes on.

    Seen to fail when `Builder._build` does not take GivenUp as a reason to set the file aside: it waits for ever.
    """
    monkeypatch.setattr(building, "ANEW_WAIT_S", 0.1)
    dice = random.Random(1)
    async with compaction_client(nats_url) as nc:
        for number in range(1, LARGE_EVENTS + 1):
            message = tagged(number, reason=dice.randbytes(LARGE_EVENT_BYTES // 2).hex())
            await nc.jetstream().publish(message.subject, message.body, headers={"ce-id": message.identity})
        async with projector(nc, small_disk, unsorted_events_max=0) as projecting:
            await until_so(lambda: position(small_disk) == LARGE_EVENTS)
            first = file(small_disk)
            ballast = fill_disk(small_disk, leave_bytes=LARGE_EVENTS * LARGE_EVENT_BYTES // 4)
            projecting.rebuild()
            await until_so(lambda: "has been invalidated" in projecting.trouble)
            assert (file(small_disk), position(small_disk)) == (first, LARGE_EVENTS)
            ballast.unlink()
            await until_so(lambda: not projecting.rebuilding)
            assert file(small_disk) != first
            await publish(nc, LARGE_EVENTS + 1, LARGE_EVENTS + 1)
            await until_so(lambda: position(small_disk) == LARGE_EVENTS + 1)
    assert not [name for name in os.listdir(small_disk / "read-models") if name.startswith("damaged")]


def test_status_tells_why_a_compaction_waits(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator sees that tables stay unsorted, and how much disk that would take.

    Seen to fail when `state` does not tell `compactionWaits`.
    """
    monkeypatch.setenv("TAGSTACK_UNSORTED_EVENTS_MAX", "1")
    push = {"apiVersion": "v1", **mapping("api", 1), "metadata": {"name": "api", "namespace": "prod"}}
    with running(small_disk / "home") as up:
        assert up.run("apply", "-f", "-", stdin=json.dumps(push)).returncode == 0
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while "compactionWaits" not in up.json("status"):
            assert time.monotonic() < deadline
        told = up.run("status")
        assert told.returncode == 0
        assert re.search(r"unsorted events \d+; they stay so, and lookups slower: it needs \d+ MB of disk", told.stdout)
