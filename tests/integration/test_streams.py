"""The streams of the contract: what the server keeps, forbids, fills and republishes by itself."""

from __future__ import annotations

import json
from typing import Any

from nats.aio.client import Client

from tagstack.adapters.nats_streams import (
    DEAD_STREAM,
    EVENTS_STREAM,
    QUEUE_STREAM,
    TAGS_STREAM,
    declarations,
    declare,
    jetstream,
    stream_info,
)
from tests.examples_nats import WAIT_S, ask, client_of, digest, log_of, mapping, run, until, worker

STREAMS = (EVENTS_STREAM, TAGS_STREAM, QUEUE_STREAM, DEAD_STREAM)


async def configs(client: Client) -> dict[str, dict[str, Any]]:
    """Return the configuration of every stream as the server has it."""
    return {name: (await stream_info(client, name))["config"] for name in STREAMS}


def test_to_declare_twice_changes_nothing(nats_url: str) -> None:
    """A second declaration leaves configuration, creation time and messages as they were."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            await client.request("tagstack.queue.me.prod.api", b"{}", timeout=WAIT_S)
            before = await configs(client)
            created = [(await stream_info(client, name))["created"] for name in STREAMS]
            await declare(client)
            assert await configs(client) == before
            assert [(await stream_info(client, name))["created"] for name in STREAMS] == created
            assert (await stream_info(client, QUEUE_STREAM))["state"]["messages"] == 1

    run(scenario)


def test_a_changed_flag_is_brought_back(nats_url: str) -> None:
    """A stream with another setting is brought up to its declaration; what is not declared stays."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            wanted = {stream["name"]: stream for stream in declarations()}
            for name in (EVENTS_STREAM, QUEUE_STREAM):
                changed = wanted[name] | {"allow_direct": False, "discard": "old", "description": "ours"}
                changed["deny_delete"] = changed["deny_purge"] = False
                answer = await jetstream(client, f"STREAM.CREATE.{name}", changed)
                assert "error" not in answer
            await declare(client)
            found = await configs(client)
            assert found[EVENTS_STREAM]["allow_direct"] is True
            assert found[EVENTS_STREAM]["deny_delete"] is found[EVENTS_STREAM]["deny_purge"] is True
            assert found[EVENTS_STREAM]["discard"] == found[QUEUE_STREAM]["discard"] == "new"
            assert found[QUEUE_STREAM]["description"] == "ours"

    run(scenario)


def test_the_stream_of_tags_keeps_the_mode_it_was_made_with(nats_url: str) -> None:
    """Made new it is written out later than acked; one that is written out at once stays so, and stays.

    Seen to fail when the mode was part of the update: the server refuses that.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            assert (await configs(client))[TAGS_STREAM]["persist_mode"] == "async"
            await jetstream(client, f"STREAM.DELETE.{TAGS_STREAM}")
            await jetstream(client, f"STREAM.CREATE.{TAGS_STREAM}", declarations(1)[1] | {"persist_mode": "default"})
            created = (await stream_info(client, TAGS_STREAM))["created"]
            await declare(client)
            found = await stream_info(client, TAGS_STREAM)
            assert (found["created"], found["config"].get("persist_mode")) == (created, None)

    run(scenario)


def test_the_log_lets_nothing_be_deleted_or_purged(nats_url: str) -> None:
    """JetStream refuses to delete a message of the log and to purge it, whoever asks.

    Seen to fail when the declaration of the log lets `deny_delete` be.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            for call, body in (
                (f"STREAM.MSG.DELETE.{EVENTS_STREAM}", {"seq": 1}),
                (f"STREAM.PURGE.{EVENTS_STREAM}", {}),
            ):
                assert "error" in await jetstream(client, call, body)
            assert len(await log_of(client, ">")) == 3

    run(scenario)


def test_each_tags_last_event_is_kept_and_republished_by_the_server(nats_url: str) -> None:
    """TAGSTACK_TAGS holds one message per tag, the log's last; plain subscribers hear every change.

    Seen to fail when `nats_streams._TAGS` does not bound the messages of one subject.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            heard = await client.subscribe("tagstack.changed.prod.api.*")
            for number, tag in enumerate(["latest", "v1.2", "latest", "latest"]):
                await ask(client, "prod.api", mapping("api", number, tag))
            changes = [await heard.next_msg(timeout=WAIT_S) for _ in range(4)]
            subjects = [change.subject.rsplit(".", 1)[1] for change in changes]
            assert subjects == ["latest", "v1%2E2", "latest", "latest"]
            assert [json.loads(change.data)["image"] for change in changes] == [digest(n) for n in range(4)]
            tags = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
            assert sorted((tag.subject, tag.body["image"]) for tag in tags) == [
                ("tagstack.tags.prod.api.latest", digest(3)),
                ("tagstack.tags.prod.api.v1%2E2", digest(1)),
            ]
            assert tags[-1].headers["ce-id"] == (await log_of(client))[-1].headers["ce-id"]

    run(scenario)


def test_a_deleted_tag_stays_as_its_deletion(nats_url: str) -> None:
    """A new consumer learns that the tag is gone: `tag_deleted`, image null, with who and why."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            delete = {"kind": "DeleteImageStreamTag", "metadata": {"name": "api:latest"}}
            await ask(client, "prod.api", delete, {"Tagstack-Reason": "old"})

            async def gone() -> bool:
                [tag] = await log_of(client, "tagstack.tags.>", TAGS_STREAM) or [None]
                return tag is not None and tag.body["type"] == "tag_deleted"

            await until(gone)
            [tag] = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
            assert (tag.body["image"], tag.body["head"], tag.body["previousImage"]) == (None, None, digest(1))
            assert (tag.body["actor"], tag.body["reason"], tag.body["origin"]) == ("me", "old", "delete")

    run(scenario)


def test_a_consumer_reads_a_snapshot_and_then_follows(nats_url: str) -> None:
    """A plain JetStream consumer on TAGSTACK_TAGS gets each tag once, then every later change.

    Seen to fail when `nats_streams._TAGS` does not bound the messages of one subject.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            for number in range(6):
                await ask(client, "prod.api", mapping("api", number, f"t{number % 2}"))

            async def both() -> bool:
                tags = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
                return sorted(tag.body["image"] for tag in tags) == [digest(4), digest(5)]

            await until(both)
            consumer = await client.jetstream().subscribe("tagstack.tags.>", stream=TAGS_STREAM, ordered_consumer=True)
            snapshot = [json.loads((await consumer.next_msg(timeout=WAIT_S)).data)["image"] for _ in range(2)]
            assert sorted(snapshot) == [digest(4), digest(5)]
            await ask(client, "prod.api", mapping("api", 9, "t0"))
            assert json.loads((await consumer.next_msg(timeout=WAIT_S)).data)["image"] == digest(9)

    run(scenario)
