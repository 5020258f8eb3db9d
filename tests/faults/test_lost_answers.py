"""What if the answer is lost, the server is killed, or the log loses its tail: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters import nats_append, nats_direct
from tagstack.adapters.nats_server import NatsServer
from tests.examples_nats import Json, ask, check_chain, client_of, digest, direct, log_of, mapping, run, until, worker
from tests.faults.proxy import proxy_before

ANSWER_TIMEOUT_S = 2.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: Any) -> None:
    """Wait less for what will never come."""
    monkeypatch.setattr(nats_append, "ACK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(nats_direct, "READ_TIMEOUT_S", 3.0)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("marker", [b"PUB tagstack.events.", b"PUB tagstack.images.", b"Nats-Batch-Commit"])
def test_a_lost_ack_is_looked_up_in_the_log(nats_url: str, marker: bytes, repeatable: bool) -> None:
    """An append that was stored but not acknowledged is found: one event, and the answer it should have had.

    Seen to fail when `CommandHandler._carry_out` does not note since when an append is in doubt.
    """

    async def scenario() -> None:
        async with proxy_before(nats_url) as proxy, worker(proxy.url) as part, client_of(nats_url) as client:
            if marker != b"Nats-Batch-Commit":
                await direct(part, "prod", "api", mapping("api", 0))
            proxy.lose_answer_to(marker)
            done = await direct(part, "prod", "api", mapping("api", 1), repeatable=repeatable)
            assert proxy.lost == 1
            assert done.changed is True
            last = (await log_of(client))[-1]
            assert (done.position, done.moves[0]["image"]) == (last.position, digest(1))
            again = await direct(part, "prod", "api", mapping("api", 2))
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            check_chain(tagged)
            images = [event.body["image"] for event in tagged]
            assert images[-2:] == [digest(1), digest(2)]
            assert len(set(images)) == len(images)
            assert again.moves[0]["previousImage"] == digest(1)
            assert len(await log_of(client, "tagstack.images.>")) == len(images)

    run(scenario)


class Sender:
    """A client that sends each of its commands until it gets an answer, and keeps its own record."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.acknowledged: dict[str, Json] = {}
        self.stopped = False

    async def work(self, pause_s: float = 0.0) -> None:
        """Push image after image, until stopped."""
        number = 0
        while not self.stopped:
            command_id = f"{self.name}-{number}"
            command = mapping("api", hash(command_id) % 2**255, f"t{number % 2}")
            with suppress(NatsError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answer = await ask(self.client, "prod.api", command, {"Tagstack-Command-Id": command_id})
                if answer["status"] == "Success":
                    self.acknowledged[command_id] = answer["details"]
                    number += 1
            await asyncio.sleep(pause_s)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(nats_server: NatsServer) -> None:
    """kill -9 of nats-server thrice under load: what was acknowledged is in the log once, and the worker goes on.

    Seen to fail when `CommandHandler._carry_out` takes an append without an ack for done.
    """

    async def scenario() -> None:
        url = nats_server.url
        async with worker(url), worker(url), client_of(url) as client:
            senders = [Sender(client, f"s{n}") for n in range(4)]
            tasks = [asyncio.create_task(sender.work()) for sender in senders]
            for _ in range(3):
                before = sum(len(sender.acknowledged) for sender in senders)
                await until(lambda before=before: more(senders, before + 40))  # type: ignore[misc]
                await asyncio.to_thread(nats_server.kill)
                await asyncio.to_thread(nats_server.start)
            before = sum(len(sender.acknowledged) for sender in senders)
            await until(lambda: more(senders, before + 40))
            for sender in senders:
                sender.stopped = True
            await asyncio.gather(*tasks)
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            check_chain(tagged)
            causes = [event.body["cause"] for event in tagged]
            assert len(set(causes)) == len(causes)
            positions = {event.body["cause"]: event.position for event in tagged}
            for sender in senders:
                for command_id, details in sender.acknowledged.items():
                    assert positions[command_id] == details["position"]

    run(scenario)


async def more(senders: list[Sender], count: int) -> bool:
    """Return whether enough commands are acknowledged."""
    return sum(len(sender.acknowledged) for sender in senders) >= count


def test_a_worker_forgets_what_the_log_lost(nats_server: NatsServer, tmp_path: Path) -> None:
    """The server comes back without its last events: what the worker had cached of them is not believed any more.

    Seen to fail when `CommandsPart.forget` keeps the cached states.
    """

    async def scenario() -> None:
        url = nats_server.url
        async with worker(url), client_of(url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            await asyncio.to_thread(nats_server.stop)
            shutil.copytree(nats_server.folder / "js", tmp_path / "backup")
            await asyncio.to_thread(nats_server.start)
            await answered(client, mapping("api", 2))
            await answered(client, mapping("api", 3, "other"))
            await asyncio.to_thread(nats_server.stop)
            shutil.rmtree(nats_server.folder / "js")
            shutil.copytree(tmp_path / "backup", nats_server.folder / "js")
            await asyncio.to_thread(nats_server.start)
            # unchanged, would say who still believes in the lost events
            moved = await answered(client, mapping("api", 2))
            assert moved["details"]["moves"] == [{"tag": "latest", "image": digest(2), "previousImage": digest(1)}]
            refused = await answered(client, {"kind": "HoldTag", "metadata": {"name": "api:other"}})
            assert refused["reason"] == "NotFound"
            images = [event.body["image"] for event in await log_of(client, "tagstack.images.>")]
            assert images == [digest(1), digest(2)]
            check_chain(await log_of(client))

    run(scenario)


async def answered(client: Client, command: Json) -> Json:
    """Send a command until it is answered by more than that the log does not answer."""

    async def once() -> Json | None:
        with suppress(NatsError):
            answer = await ask(client, "prod.api", command)
            return None if answer.get("code") == 503 else answer
        return None

    answer: Json = await until(once)
    return answer


def test_many_more_events_by_another_worker_than_one_reading_gives(nats_url: str) -> None:
    """A worker that missed two thousand events of another one folds them, and its own next append is right."""

    async def scenario() -> None:
        async with worker(nats_url) as behind, worker(nats_url) as ahead, client_of(nats_url) as client:
            await direct(behind, "prod", "api", mapping("api", 0))
            await asyncio.gather(*(direct(ahead, "prod", "api", mapping("api", n)) for n in range(1, 2_001)))
            done = await direct(behind, "prod", "api", mapping("api", 3_000))
            assert done.moves[0]["previousImage"] == digest(2_000)
            check_chain(await log_of(client))

    run(scenario)
