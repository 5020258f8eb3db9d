"""What if a consumer reads nothing, or is away? Nobody waits for it, nothing piles up, and it catches up later."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nats.js.client import JetStreamContext

from tagstack.adapters.nats_server import MESSAGE_BYTES_MAX, NatsServer, ServerOptions
from tagstack.adapters.nats_streams import TAGS_STREAM
from tests.examples_nats import WAIT_S, Json, ask, client_of, digest, mapping, run, stored_in, until, worker

PUSHES = 80
TAGS = 3
LARGE_BYTES = 200_000  # of what each event of a tag carries, so that a reader's buffers are soon full
PENDING_BYTES_MAX = MESSAGE_BYTES_MAX  # what the server keeps for one that does not read; it takes no less


@pytest.fixture
def strict_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that keeps little for a connection that does not read, and then cuts it."""
    server = NatsServer(tmp_path / "nats", ServerOptions(extra=f"max_pending: {PENDING_BYTES_MAX}")).start()
    yield server
    server.stop()


def deaf(url: str) -> socket.socket:
    """Return a subscriber to every changed tag who never reads."""
    parts = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect((parts.hostname, parts.port))
    sock.sendall(b'CONNECT {"verbose":false}\r\nSUB tagstack.changed.> 1\r\n')
    return sock


def large(tag: str) -> Json:
    """Return a tag whose spec is large, and with it every event of the tag."""
    spec = {"from": {"kind": "DockerImage", "name": "r.example/p/api:1"}, "annotations": {"a": "x" * LARGE_BYTES}}
    return {"kind": "ImageStreamTag", "metadata": {"name": f"api:{tag}"}, "tag": spec}


def test_a_subscriber_that_does_not_read_keeps_nobody_waiting(strict_server: NatsServer) -> None:
    """It is cut off by the server; every command is answered, and another subscriber hears every change.

    Seen to fail when `nats_streams._TAGS` republishes nothing.
    """

    async def scenario() -> None:
        url = strict_server.url
        async with worker(url), client_of(url) as client:
            await ask(client, "prod.api", mapping("api", 0))
            await ask(client, "prod.api", large("latest"))
            heard = await client.subscribe("tagstack.changed.prod.api.latest", pending_bytes_limit=-1)
            with deaf(url):
                for number in range(1, PUSHES + 1):
                    assert (await ask(client, "prod.api", mapping("api", number)))["status"] == "Success"
                images: list[str] = []
                while len(images) < PUSHES:
                    image = json.loads((await heard.next_msg(WAIT_S)).data)["image"]
                    if image != digest(0):  # of before the pushes: a change may be heard after its command's reply
                        images.append(image)
                assert images == [digest(n) for n in range(1, PUSHES + 1)]

                async def cut_off() -> bool:
                    return "Slow Consumer Detected" in strict_server.log_path.read_text()

                await until(cut_off)

    run(scenario)


def test_a_consumer_that_was_away_finds_the_last_event_of_each_tag(nats_url: str) -> None:
    """While it is away one message per tag is kept for it, however often tags move; then it has the present state.

    Seen to fail when `nats_streams._TAGS` does not bound the messages of one subject.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 0, "t0"))
            consumer = await client.jetstream().pull_subscribe("tagstack.tags.>", "away", stream=TAGS_STREAM)
            assert await images(consumer) == {"t0": digest(0)}
            await consumer.unsubscribe()
            for number in range(PUSHES):
                asked = [ask(client, "prod.api", mapping("api", 10 * number + tag, f"t{tag}")) for tag in range(TAGS)]
                assert {answer["status"] for answer in await asyncio.gather(*asked)} == {"Success"}
            wanted = {f"t{tag}": digest(10 * (PUSHES - 1) + tag) for tag in range(TAGS)}
            found: dict[str, str] = {}
            consumer = await client.jetstream().pull_subscribe("tagstack.tags.>", "away", stream=TAGS_STREAM)

            async def caught_up() -> bool:
                found.update(await images(consumer))
                return found == wanted

            await until(caught_up)
            assert await stored_in(client, TAGS_STREAM) == TAGS

    run(scenario)


async def images(consumer: JetStreamContext.PullSubscription) -> dict[str, str]:
    """Return what a consumer is given next, by tag."""
    found = {}
    for msg in await consumer.fetch(10 * TAGS, timeout=WAIT_S):
        event = json.loads(msg.data)
        found[event["tag"]] = event["image"]
        await msg.ack()
    return found
