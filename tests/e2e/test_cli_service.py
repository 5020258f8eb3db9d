"""How the command line meets the service: found, missing, stopped, forbidden, slow."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from tagstack.adapters import nats_client
from tagstack.adapters.nats_client import Envelope, ServiceClient
from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.cli.main import run
from tagstack.domain.names import ImageStreamName

DONE = {
    "kind": "Status",
    "status": "Success",
    "details": {"position": 7, "changed": True, "withheld": False, "moves": []},
}
WAIT_S = 20.0
APP = ImageStreamName("test", "app")
USERS = """
accounts { A { jetstream: enabled, users: [
  { user: alice, password: secret, permissions: {
    publish: ["tagstack.commands.alice.>", "tagstack.queries.alice.>"]
    subscribe: ["_INBOX.>"] } }
  { user: system, password: system } ] } }
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no variable that names a service."""
    for name in ("TAGSTACK_SERVER", "TAGSTACK_NAMESPACE", "TAGSTACK_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path))
    monkeypatch.setenv("TAGSTACK_ACTOR", "alice")
    return tmp_path


def test_no_service_is_told_with_how_to_start_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a running service a verb says how to start one, exit 3."""
    assert run(["get", "is"]) == 3
    err = capsys.readouterr().err
    assert "tagstack up" in err and err.count("\n") == 1


def test_endpoints_tell_where_the_service_is(home: Path, nats_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The home's endpoints.json leads to the service; one that nobody can read is told with its path, exit 2."""
    (home / "endpoints.json").write_text(json.dumps({"nats": nats_url}))
    assert run(["get", "is"]) == 3
    assert f"no worker of tagstack answers at {nats_url}" in capsys.readouterr().err
    (home / "endpoints.json").write_text("{")
    assert run(["get", "is"]) == 2
    assert str(home / "endpoints.json") in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("get", "is"), ("sql", "SELECT 1"), ("watch",), ("status",), ("dead", "list")])
def test_a_stopped_service_is_unreachable(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Where nothing listens any more every verb ends soon with one line and 3; a password is not shown."""
    assert run([*arguments, "--server", "nats://alice:secret@127.0.0.1:1"]) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith("error: no NATS server answers at nats://127.0.0.1:1: connection refused")
    assert captured.err.count("\n") == 1 and "secret" not in captured.err


def test_an_unknown_setting_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt TAGSTACK_ variable is told, not ignored, exit 2."""
    monkeypatch.setenv("TAGSTACK_SEVRER", "nats://127.0.0.1:1")
    assert run(["get", "is"]) == 2
    assert "TAGSTACK_SEVRER" in capsys.readouterr().err


def test_an_actor_may_not_speak_for_another(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server forbids is told at once, exit 1; what needs no right of the whole cluster asks for none."""
    server = NatsServer(tmp_path / "nats", ServerOptions(extra=USERS)).start()
    try:
        url = server.url.replace("nats://", "nats://alice:secret@")
        began = time.monotonic()
        assert run(["hold", "app:v1", "--server", url, "--actor", "bob"]) == 1
        assert run(["watch", "--server", url]) == 1
        assert run(["sql", "SELECT 1", "--server", url]) == 1
        assert time.monotonic() - began < nats_client.REPLY_TIMEOUT_S
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3
        assert lines[0].startswith('error: "bob" may not use tagstack.commands.bob.default.app at nats://127.0.0.1')
    finally:
        server.stop()


async def _answering(url: str, answers: list[dict[str, Any] | None], seen: list[Msg]) -> Any:
    """Answer commands in turn; None is no answer."""

    async def arrived(msg: Msg) -> None:
        seen.append(msg)
        if (answer := answers.pop(0)) is not None:
            await msg.respond(json.dumps(answer).encode())

    nc = await connect(url, "test-worker")
    await nc.subscribe("tagstack.commands.>", cb=arrived)
    await nc.flush()
    return nc


@pytest.mark.parametrize(
    "first", [None, {"kind": "Status", "status": "Failure", "reason": "ServiceUnavailable", "code": 503}]
)
def test_a_command_is_sent_again_under_its_id(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any] | None
) -> None:
    """A command without an answer, or whose service was not there, is sent again with the same id and time."""
    monkeypatch.setattr(nats_client, "REPLY_TIMEOUT_S", 0.3)
    seen: list[Msg] = []

    async def asking() -> dict[str, Any]:
        worker = await _answering(nats_url, [first, DONE], seen)
        async with ServiceClient(nats_url, "alice") as client:
            status = await client.command(APP, b"{}", Envelope(reason="für alle"))
        await worker.close()
        return status

    assert asyncio.run(asking()) == DONE
    sent = [(msg.subject, dict(msg.headers or {})) for msg in seen]
    assert len(sent) == 2 and sent[0] == sent[1]
    assert sent[0][0] == "tagstack.commands.alice.test.app"
    assert sent[0][1]["Tagstack-Reason"] == "für alle"
    assert {"Tagstack-Command-Id", "Tagstack-Sent"} <= set(sent[0][1])


def test_a_command_without_any_answer_ends(
    nats_url: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a bounded number of attempts the verb gives up, exit 3."""
    monkeypatch.setattr(nats_client, "REPLY_TIMEOUT_S", 0.2)
    silent = subprocess.Popen([sys.executable, "-c", SILENT, nats_url], stdout=subprocess.PIPE)
    try:
        assert silent.stdout is not None and silent.stdout.readline() == b"ready\n"
        assert run(["hold", "app:v1", "--server", nats_url]) == 3
        assert "no answer from" in capsys.readouterr().err
    finally:
        silent.kill()
        silent.communicate()


SILENT = """
import asyncio, sys, nats

async def main():
    nc = await nats.connect(sys.argv[1])
    await nc.subscribe("tagstack.commands.>")
    await nc.flush()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_watch_ends_when_the_service_does(home: Path, nats_server: NatsServer) -> None:
    """A watch whose server goes away says so and exits 3; it does not wait for ever."""
    command = [sys.executable, "-m", "tagstack", "watch", "--server", nats_server.url]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    async def subscribed() -> None:
        nc = await connect(nats_server.url, "test")
        listening = False
        while not listening:
            try:
                await nc.request("tagstack.changed.a.b.c", b"{}", timeout=0.05)
            except NatsTimeout:
                listening = True  # somebody got it, and does not answer
            except NoRespondersError:
                continue
        await nc.close()

    asyncio.run(asyncio.wait_for(subscribed(), WAIT_S))
    nats_server.kill()
    _, err = watching.communicate(timeout=WAIT_S)
    assert watching.returncode == 3
    assert "the connection to" in err and "Traceback" not in err
