"""A message of the log that is no event: it stops only what it touches, and is named by its position."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.application.ports import Request
from tagstack.apps.commands import now
from tagstack.domain.events import EVENT_VERSION
from tagstack.domain.names import ImageStreamName
from tests.examples_nats import WAIT_S, Json, ask, client_of, digest, mapping, run, until, worker
from tests.integration.test_append import handler_of
from tests.integration.test_followers import following, history

DELETED = json.loads((Path(__file__).parent.parent / "golden/events/v1/tag_deleted.json").read_bytes())
OF_LATER = json.dumps(DELETED | {"version": EVENT_VERSION + 1}).encode()  # what it means we can't know
BODIES = [b"nonsense", b"", b"\xff", b'{"type":"image_tagged"}', b'{"type":"no_such","namespace":"prod"}', OF_LATER]


async def put(client: Client, subject: str, body: bytes) -> int:
    """Store a message in the log by hand, and return its position."""
    ack = await client.request(f"tagstack.events.{subject}", body, timeout=WAIT_S)
    return int(json.loads(ack.data)["seq"])


async def query(client: Client, **wanted: str) -> Json:
    """Ask for something of `prod`."""
    reply = await client.request("tagstack.queries.me.prod", json.dumps(wanted).encode(), timeout=WAIT_S)
    answer: Json = json.loads(reply.data)
    return answer


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("subject", ["prod.bad.stream", "prod.bad.tag.latest"])
def test_it_stops_its_own_image_stream_and_no_other(nats_url: str, subject: str, body: bytes) -> None:
    """Commands and queries on that image stream are refused with its position; all others are carried out.

    Seen to fail when `reading.read_event` does not catch what a decoder raises, and when it takes an event of a later
    version.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                await ask(client, "prod.bad", mapping("bad", 1))
                await ask(client, "prod.good", mapping("good", 1))
                position = await put(client, subject, body)
            async with worker(nats_url):
                refused = [
                    await ask(client, "prod.bad", mapping("bad", 2)),
                    await query(client, kind="ImageStream", name="bad"),
                    await query(client, kind="ImageStreamTag", name="bad:latest"),
                ]
                for answer in refused:
                    assert (answer["reason"], answer["code"]) == ("StorageReadError", 500)
                    assert f"the event at position {position} can't be read" in answer["message"]
                assert (await ask(client, "prod.good", mapping("good", 2)))["details"]["changed"] is True
                found = await query(client, kind="ImageStreamTag", name="good:latest")
                assert found["image"]["metadata"]["name"] == digest(2)

    run(scenario)


async def follower_at(client: Client, name: str, number: int) -> bool:
    """Return whether a follower in `prod` has got to an image."""
    rows = await history(client, "prod", f"{name}:latest")
    return bool(rows and rows[0]["image"] == digest(number))


@pytest.mark.parametrize("body", BODIES)
def test_followers_go_on_past_it(nats_url: str, body: bytes) -> None:
    """A worker that learns who follows whom, and one that hears it live, leave it out."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            for number in (1, 2):
                async with worker(nats_url):
                    await ask(client, "dev.app", mapping("app", number))
                    await ask(client, "prod.app", following("app", "dev", "app:latest"))
                    await put(client, "dev.bad.tag.latest", body)
                    await ask(client, "dev.app", mapping("app", number + 10))
                    await until(lambda number=number: follower_at(client, "app", number + 10))  # type: ignore[misc]

    run(scenario)


@pytest.mark.parametrize("subject", ["dev.bad.tag.latest", "dev.bad.stream", "prod.bad.tag.latest", "prod.bad.stream"])
def test_a_follower_that_it_stops_keeps_no_other_waiting(nats_url: str, subject: str) -> None:
    """Where source or follower can't be read any more, that one stays where it is; those heard after it move."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                for name in ("bad", "app"):
                    await ask(client, f"dev.{name}", mapping(name, 1))
                    await ask(client, f"prod.{name}", following(name, "dev", f"{name}:latest"))
            writer = await handler_of(client, now)  # which moves no followers
            for name in ("bad", "app"):
                body = json.dumps(mapping(name, 2)).encode()
                await writer.handle(Request("me", ImageStreamName("dev", name), body, f"move-{name}"))
            await put(client, subject, b"nonsense")
            async with worker(nats_url):
                await until(lambda: follower_at(client, "app", 2))

    run(scenario)
