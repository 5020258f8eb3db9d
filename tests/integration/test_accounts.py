"""The example configuration with users: the server itself vouches for the actor, and keeps users off the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeout
from prometheus_client import CollectorRegistry

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.apps.commands import CommandsPart
from tagstack.apps.settings import Settings

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "nats-accounts.conf"
MAPPING = {
    "kind": "ImageStreamMapping",
    "metadata": {"name": "app"},
    "image": {"dockerImageReference": f"r.example/test/app@sha256:{1:064x}"},
    "tag": "latest",
}
REFUSED_WAIT_S = 0.5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server with the accounts of the example; listen address and storage are the test's own."""
    text = EXAMPLE.read_text()
    for name in ("TAGSTACK", "CI", "ANA"):
        text = text.replace(f"${name}_PASSWORD", name.lower())
    own = ("listen:", "max_payload:", "jetstream {")
    kept = "\n".join(line for line in text.splitlines() if not line.startswith(own))
    running = NatsServer(tmp_path / "nats", ServerOptions(extra=kept)).start()
    yield running
    running.stop()


async def user(server: NatsServer, name: str) -> Client:
    """Connect as a user whose password is its name."""

    async def quiet(error: Exception) -> None:
        return

    return await nats.connect(server.url, user=name, password=name, error_cb=quiet)


async def command(nc: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a command and return the Status."""
    reply = await nc.request(subject, json.dumps(body).encode(), timeout=5)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


def test_a_user_acts_under_its_own_name_only(server: NatsServer) -> None:
    """CI's command is stored with actor ci; under another name, for another project, or to the log it can't publish."""

    async def scenario() -> None:
        service = await user(server, "tagstack")
        part = CommandsPart(Settings(nats=server.url), CollectorRegistry())
        await part.start(service)
        ci = await user(server, "ci")
        changed = await ci.subscribe("tagstack.changed.test.>")
        await ci.flush()
        assert (await command(ci, "tagstack.commands.ci.test.app", MAPPING))["status"] == "Success"
        event = json.loads((await changed.next_msg(5)).data)
        assert (event["actor"], event["tag"]) == ("ci", "latest")
        kept = await ci.request("tagstack.queue.ci.test.app", json.dumps(MAPPING).encode(), timeout=5)
        assert json.loads(kept.data)["stream"] == "TAGSTACK_QUEUE"
        for subject in ("tagstack.commands.bob.test.app", "tagstack.commands.ci.prod.app"):
            with pytest.raises(NatsTimeout):
                await ci.request(subject, json.dumps(MAPPING).encode(), timeout=REFUSED_WAIT_S)
        before = (await service.jetstream().stream_info("TAGSTACK_EVENTS")).state.last_seq
        await ci.publish("tagstack.commands.ci.test.app", b"{}", reply="tagstack.events.test.app.stream")
        await ci.publish("tagstack.events.test.app.stream", b"{}")
        await ci.flush()
        assert (await command(ci, "tagstack.commands.ci.test.app", MAPPING))["details"]["changed"] is False
        assert (await service.jetstream().stream_info("TAGSTACK_EVENTS")).state.last_seq == before
        await part.stop()
        await ci.close()
        await service.close()

    asyncio.run(scenario())


def test_an_analyst_reads_and_changes_nothing(server: NatsServer) -> None:
    """Queries of any project are answered; commands have no way through."""

    async def scenario() -> None:
        service = await user(server, "tagstack")
        part = CommandsPart(Settings(nats=server.url), CollectorRegistry())
        await part.start(service)
        await command(service, "tagstack.commands.tagstack.test.app", MAPPING)
        ana = await user(server, "ana")
        query = {"kind": "ImageStreamTag", "name": "app:latest"}
        assert (await command(ana, "tagstack.queries.ana.test", query))["kind"] == "ImageStreamTag"
        with pytest.raises(NatsTimeout):
            await ana.request("tagstack.commands.ana.test.app", json.dumps(MAPPING).encode(), timeout=REFUSED_WAIT_S)
        await part.stop()
        await ana.close()
        await service.close()

    asyncio.run(scenario())


def test_a_users_command_is_answered_by_whichever_worker_owns_it(server: NatsServer) -> None:
    """Half of the commands go through two workers, and their answers find the way back into the user's account.

    Seen to fail when the sender's reply subject is lost on the way.
    """

    async def scenario() -> None:
        services = [await user(server, "tagstack") for _ in range(2)]
        parts = [CommandsPart(Settings(nats=server.url), CollectorRegistry()) for _ in services]
        for part, service in zip(parts, services, strict=True):
            await part.start(service)
        ci = await user(server, "ci")
        for turn in range(1_000):
            name = f"app{turn}"
            assert (await command(ci, f"tagstack.commands.ci.test.{name}", pushed(name)))["status"] == "Success"
            if all(part._intake and part._intake.handed_on for part in parts):
                break
        assert all(part._intake and part._intake.handed_on for part in parts)
        for part in parts:
            await part.stop()
        for client in (ci, *services):
            await client.close()

    asyncio.run(scenario())


def pushed(name: str) -> dict[str, Any]:
    """Return the mapping for an image stream."""
    return MAPPING | {"metadata": {"name": name}}
