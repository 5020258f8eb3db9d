"""Commands by request/reply: what is answered when, and how events are stored."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
from nats.errors import NoRespondersError

from tests.examples_nats import ask, client_of, digest, log_of, mapping, run, stored_in, worker

PLAIN_PROGRAM = """
import asyncio, json, sys, nats
async def main():
    nc = await nats.connect(sys.argv[1])
    image = {"metadata": {"name": "sha256:" + "a" * 64}, "dockerImageReference": "r.example/prod/api:1"}
    body = {"kind": "ImageStreamMapping", "metadata": {"name": "api"}, "image": image, "tag": "latest"}
    reply = await nc.request("tagstack.commands.ci.prod.api", json.dumps(body).encode(), timeout=10)
    print(reply.data.decode())
    await nc.close()
asyncio.run(main())
assert not any(name.startswith("tagstack") for name in sys.modules)
"""


def test_a_program_without_our_library_gets_a_status(nats_url: str) -> None:
    """Ten lines of nats-py push an image and read the Status reply."""

    async def scenario() -> None:
        async with worker(nats_url):
            command = [sys.executable, "-I", "-c", PLAIN_PROGRAM, nats_url]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout)
            assert (answer["kind"], answer["status"]) == ("Status", "Success")
            move = {"tag": "latest", "image": "sha256:" + "a" * 64, "previousImage": None}
            assert answer["details"]["moves"] == [move]
            assert answer["details"]["changed"] is True

    run(scenario)


def test_the_reply_comes_only_after_the_event_is_stored(nats_url: str) -> None:
    """The position in the reply can be read from the log at once, and holds the command's last event."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            for number in range(20):
                answer = await ask(client, "prod.api", mapping("api", number), {"Tagstack-Command-Id": f"c{number}"})
                last = (await log_of(client))[-1]
                assert (last.position, last.body["cause"]) == (answer["details"]["position"], f"c{number}")
                assert last.body["last"] is True

    run(scenario)


def test_events_are_cloud_events_named_after_their_command(nats_url: str) -> None:
    """`ce-id` is the message id, `<namespace>/<image_stream>/<command id>/<n>`; only the last event is `last`."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(
                client, "prod.api", mapping("api", 1), {"Tagstack-Command-Id": "build-7/x", "Tagstack-Reason": "é"}
            )
            created, tagged = await log_of(client)
            assert [created.body["type"], tagged.body["type"]] == ["image_stream_created", "image_tagged"]
            for n, record in enumerate((created, tagged), 1):
                headers, event = record.headers, record.body
                assert headers["ce-id"] == headers["Nats-Msg-Id"] == f"prod/api/build-7/x/{n}"
                assert headers["ce-type"] == f"dev.tagstack.{event['type']}"
                assert (headers["ce-specversion"], headers["ce-time"]) == ("1.0", event["time"])
                assert headers["ce-source"] and headers["content-type"] == "application/json"
                assert (event["cause"], event["actor"], event["reason"]) == ("build-7/x", "me", "é")
                assert event["last"] is (n == 2)
            assert tagged.subject == "tagstack.events.prod.api.tag.latest"

    run(scenario)


def test_an_image_event_carries_no_message_id(nats_url: str) -> None:
    """With the tag event's id on it the server would swallow the tag event as a duplicate."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1), {"Nats-Msg-Id": "m1"})
            [image] = await log_of(client, "tagstack.images.>")
            assert image.subject == f"tagstack.images.sha256.{1:064x}.recorded"
            assert "Nats-Msg-Id" not in image.headers
            tagged = (await log_of(client))[-1]
            assert tagged.body["cause"] == image.body["cause"] == "m1"
            assert image.headers["ce-id"] != tagged.headers["ce-id"]

    run(scenario)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("given", "kept"), [(TRACE, TRACE), ("", None), ("00-zz-1-01", None), (TRACE + "-x", None)])
def test_a_commands_trace_goes_on_in_its_events(nats_url: str, given: str, kept: str | None) -> None:
    """`traceparent` stands on every event of its command and on no other's; a broken one is ignored."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            asked = [
                ask(client, f"prod.s{n}", mapping(f"s{n}", n), {"traceparent": given} if n else {}) for n in (0, 1)
            ]
            await asyncio.gather(*asked)
            for record in await log_of(client, ">"):
                ours = record.body.get("imageStream", "") == "s1" or record.body.get("image") == digest(1)
                assert record.headers.get("traceparent") == (kept if ours else None)

    run(scenario)


def test_a_known_image_is_no_error_and_its_metadata_stays(nats_url: str) -> None:
    """A second mapping of an image, from a worker that never saw it, moves its tag and records nothing."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            for tag, architecture in (("one", "amd64"), ("two", "s390x")):
                command = mapping("api", 1, tag)
                command["image"]["dockerImageMetadata"] = {"Architecture": architecture}
                async with worker(nats_url):
                    assert (await ask(client, "prod.api", command))["details"]["changed"] is True
            [image] = await log_of(client, "tagstack.images.>")
            assert image.body["data"]["dockerImageMetadata"]["Architecture"] == "amd64"

    run(scenario)


def test_a_refused_command_leaves_no_event_of_an_image_stream(nats_url: str) -> None:
    """A refusal leaves the log as it was, an image_recorded at most."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            refused = await ask(client, "prod.api", mapping("api", 1, expectedImage=digest(2)))
            assert refused["reason"] == "Conflict"
            refused = await ask(client, "prod.api", mapping("api", 1), {"Tagstack-Create": "false"})
            assert refused["reason"] == "NotFound"
            assert await log_of(client) == []

    run(scenario)


def test_a_dry_run_stores_nothing(nats_url: str) -> None:
    """The reply says what would happen, and the log stays empty."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            answer = await ask(client, "prod.api", mapping("api", 1, dryRun=True))
            assert answer["details"]["moves"][0]["image"] == digest(1)
            assert answer["details"]["dryRun"] is True
            assert await stored_in(client, "TAGSTACK_EVENTS") == 0

    run(scenario)


def test_no_worker_no_answer(nats_url: str) -> None:
    """Without a worker the sender learns at once that nobody listens."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            with pytest.raises(NoRespondersError):
                await ask(client, "prod.api", mapping("api", 1))

    run(scenario)
