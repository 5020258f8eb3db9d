"""What if TAGSTACK_TAGS is behind the log? That is no difference; and where its source has stalled, it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters import nats_tags
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, jetstream, stream_info
from tagstack.adapters.nats_tags import TagsKeeper
from tests.examples_nats import ask, client_of, mapping, run, until, worker
from tests.faults.monitoring import MONITORED, told
from tests.faults.test_lost_tail import copied

PUSHERS = 16
LOOKS = 30


async def push(client: Client, name: str, enough: asyncio.Event) -> None:
    """Push one image after the other."""
    number = 0
    while not enough.is_set():
        number += 1
        await ask(client, f"prod.{name}", mapping(name, number))


def test_a_log_that_grows_meanwhile_is_no_difference(nats_url: str) -> None:
    """However fast events are stored and copied while the two are compared, TAGSTACK_TAGS is not made anew.

    Seen to fail when `TagsKeeper.difference` looked at the log before TAGSTACK_TAGS: half of all looks found one.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            keeper = await TagsKeeper(client, 1, lambda: None).start()
            enough = asyncio.Event()
            pushing = [asyncio.create_task(push(client, f"api{number}", enough)) for number in range(PUSHERS)]
            for _ in range(LOOKS):
                keeper.reconnected()  # look at everything, as after a reconnection
                assert await keeper.difference() == ""
            enough.set()
            await asyncio.gather(*pushing)
            await keeper.stop()
            assert keeper.renewed == 0

    run(scenario)


async def hidden_consumer(server: NatsServer) -> str:
    """Return the name of the consumer by which the server copies the log, "" for none yet; its API does not list it."""
    [account] = told(server, "jsz?accounts=true&streams=true&consumers=true&direct-consumers=true")["account_details"]
    [log] = [stream for stream in account["stream_detail"] if stream["name"] == EVENTS_STREAM]
    return str(log["direct_consumer_detail"][0]["name"]) if "direct_consumer_detail" in log else ""


@pytest.mark.parametrize("begun", [True, False], ids=["on the way", "at once"])
def test_a_source_that_stalls_is_woken(tmp_path: Path, monkeypatch: Any, begun: bool) -> None:
    """The server copies nothing any more, or never did, and says that all is well: it goes on, and no consumer notices.

    Seen to fail when `TagsKeeper.check` did not `_wake`, and when it did not ask what the log has where nothing was
    copied: the last event was never copied.
    """
    monkeypatch.setattr(nats_tags, "CHECK_INTERVAL_S", 0.2)
    monkeypatch.setattr(nats_tags, "STALLED_S", 1.0)
    server = NatsServer(tmp_path / "nats", ServerOptions(extra=MONITORED)).start()

    async def scenario() -> None:
        async with worker(server.url), client_of(server.url) as client:
            if begun:
                first = await ask(client, "prod.api", mapping("api", 1, "earlier"))
                await until(lambda: copied(client, first))
            before = await stream_info(client, TAGS_STREAM)
            seen = await client.jetstream().pull_subscribe("tagstack.tags.>", "mine", stream=TAGS_STREAM)
            pause = f"CONSUMER.PAUSE.{EVENTS_STREAM}.{await until(lambda: hidden_consumer(server))}"
            assert (await jetstream(client, pause, {"pause_until": "2100-01-01T00:00:00Z"}))["paused"]
            last = await ask(client, "prod.api", mapping("api", 2, "later"))
            await until(lambda: copied(client, last))
            after = await stream_info(client, TAGS_STREAM)
            assert (after["created"], after["config"]) == (before["created"], before["config"])
            tags = ["earlier", "later"] if begun else ["later"]
            found = [msg.subject for msg in await seen.fetch(len(tags))]
            assert found == [f"tagstack.tags.prod.api.{tag}" for tag in tags]

    try:
        run(scenario)
    finally:
        server.kill()
