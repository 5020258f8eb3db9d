"""Tags that follow tags of other image streams: exactly once, over restarts, and never in circles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from tagstack.adapters import nats_followers, nats_own_events
from tagstack.adapters.nats_followers import CONSUMER, GROUP, RESET
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_reader import LogSource
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream, log_position
from tagstack.adapters.nats_wire import WireTransport
from tagstack.application.followers import Followers
from tagstack.apps.commands import CommandsPart
from tagstack.apps.settings import Settings
from tagstack.domain.changes import Context
from tagstack.domain.decider import decide
from tagstack.domain.errors import Unavailable
from tagstack.domain.lookups import Facts, Source
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.wire import read_command
from tests.examples_nats import client_of as nats_client
from tests.examples_nats import log_of

WAIT_S = 15.0
Json = dict[str, Any]


def digest(number: int) -> str:
    """Return an image's digest."""
    return f"sha256:{number:064x}"


def mapping(name: str, number: int, tag: str = "latest") -> Json:
    """Return a mapping of image `number`."""
    image = {"metadata": {"name": digest(number)}, "dockerImageReference": f"r.example/p/{name}@{digest(number)}"}
    return {"kind": "ImageStreamMapping", "metadata": {"name": name}, "image": image, "tag": tag}


def following(name: str, namespace: str, source: str, tag: str = "latest") -> Json:
    """Return an istag that follows `source`."""
    origin = {"kind": "ImageStreamTag", "namespace": namespace, "name": source}
    spec = {"from": origin, "annotations": {"tagstack.dev/follow": "true"}}
    return {"kind": "ImageStreamTag", "metadata": {"name": f"{name}:{tag}"}, "tag": spec}


@asynccontextmanager
async def worker(url: str) -> AsyncIterator[Client]:
    """Run a command worker in this process and yield a client's connection."""
    service, client = await nats.connect(url), await nats.connect(url)
    part = CommandsPart(Settings(nats=url), CollectorRegistry())
    await part.start(service)
    try:
        yield client
    finally:
        await part.stop()
        await service.close()
        await client.close()


async def ask(client: Client, target: str, command: Json, **headers: str) -> Json:
    """Send a command to `namespace.image_stream` and return the Status."""
    subject = f"tagstack.commands.me.{target}"
    reply = await client.request(subject, json.dumps(command).encode(), timeout=WAIT_S, headers=headers or None)
    answer: Json = json.loads(reply.data)
    return answer


async def history(client: Client, namespace: str, name: str) -> list[Json]:
    """Return the rows of a tag's history, newest first; none where there is no such tag."""
    query = json.dumps({"kind": "History", "name": name}).encode()
    reply = await client.request(f"tagstack.queries.me.{namespace}", query, timeout=WAIT_S)
    rows: list[Json] = json.loads(reply.data).get("items", [])
    return rows


async def until(client: Client, namespace: str, name: str, holds: Callable[[list[Json]], bool]) -> list[Json]:
    """Wait until a tag's history is as wanted, and return it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if holds(rows := await history(client, namespace, name)):
                return rows


async def until_done(client: Client, position: int) -> None:
    """Wait until the feed is done with every event up to a position, as the server has it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            feed = await jetstream(client, f"CONSUMER.INFO.{EVENTS_STREAM}.{CONSUMER}")
            if feed["ack_floor"]["stream_seq"] >= position:
                return


async def hear_instead(client: Client, here: str, there: str) -> None:
    """Let a tag begin to follow as if another worker had heard of it, and had been pinned for that."""
    await jetstream(client, RESET.removeprefix("$JS.API."), {"seq": await log_position(client) + 2})
    await jetstream(client, f"CONSUMER.UNPIN.{EVENTS_STREAM}.{CONSUMER}", {"group": GROUP})
    await configure_unseen(await NatsLog(client).start(), here, there)


async def push_unseen(client: Client, namespace: str, name: str, number: int) -> None:
    """Push an image as another worker would, which tells this one nothing."""
    log = await NatsLog(client).start()
    image_stream = ImageStreamName(namespace, name)
    state = await log.load(image_stream)
    command = read_command(json.dumps(mapping(name, number)).encode())
    context = Context(actor="me", cause="unseen", now="2026-01-01T00:00:00.000000Z", uid="")
    decision = decide(command, state, context, Facts())
    assert decision.image is not None
    await log.record(decision.image)
    await log.append(image_stream, decision.events, state.position)


def test_a_follower_moves_with_its_source_and_says_because_of_what(nats_url: str) -> None:
    """Each move of the source moves the follower by a command of its own, by the source's actor, caused by it."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            assert (await ask(client, "prod.app", following("app", "dev", "app:latest")))["status"] == "Success"
            first = await history(client, "prod", "app:latest")
            assert [row["image"] for row in first] == [digest(1)]
            moved = await ask(client, "dev.app", mapping("app", 2), **{"Tagstack-Reason": "new build"})
            rows = await until(client, "prod", "app:latest", lambda rows: len(rows) == 2)
            position = moved["details"]["position"]
            assert rows[0]["image"] == digest(2)
            assert rows[0]["caused_by"] == position
            assert rows[0]["cause"] == f"{position}/prod/app:latest"
            assert (rows[0]["origin"], rows[0]["actor"], rows[0]["reason"]) == ("alias", "me", "new build")

    asyncio.run(scenario())


def test_a_tag_that_begins_to_follow_catches_up_in_the_name_of_who_moved_its_source(nats_url: str) -> None:
    """What moved before anyone knew of the follower is followed with the source's actor, reason and position."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            log = await NatsLog(client).start()
            for namespace in ("dev", "prod"):
                await ask(client, f"{namespace}.app", mapping("app", 1))
            moved = await ask(client, "dev.app", mapping("app", 2), **{"Tagstack-Reason": "new build"})
            await configure_unseen(log, "prod", "dev")
            rows = await until(client, "prod", "app:latest", lambda rows: len(rows) == 2)
            assert rows[0]["caused_by"] == moved["details"]["position"]
            assert (rows[0]["actor"], rows[0]["reason"]) == ("me", "new build")

    asyncio.run(scenario())


def test_a_move_made_while_no_worker_ran_reaches_the_follower_once(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker heard and could not follow to its end before it died is heard again; the follower moves once.

    Seen to fail when `FollowerFeed.stop` acknowledges what was not followed to its end.
    """

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "prod.app", following("app", "dev", "app:latest"))
            heard = asyncio.Event()

            async def die(*_: object) -> None:
                heard.set()
                raise Unavailable("dying")

            monkeypatch.setattr(Followers, "_move", die)
            await ask(client, "dev.app", mapping("app", 2))
            await heard.wait()
        monkeypatch.undo()
        for _ in range(3):
            async with worker(nats_url) as client:
                rows = await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(2))
                assert [row["image"] for row in rows] == [digest(2), digest(1)]

    asyncio.run(scenario())


def test_a_move_that_is_heard_again_moves_nothing(nats_url: str) -> None:
    """A worker that hears the whole log anew leaves a follower alone that was moved by hand since it followed."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "prod.app", following("app", "dev", "app:latest"))
            await ask(client, "dev.app", mapping("app", 2))
            await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(2))
            await ask(client, "prod.app", mapping("app", 9))
        async with nats_client(nats_url) as client:
            await client.jetstream().delete_consumer(EVENTS_STREAM, CONSUMER)
        async with worker(nats_url) as client:
            await all_heard(client)
            rows = await history(client, "prod", "app:latest")
            assert [row["image"] for row in rows] == [digest(9), digest(2), digest(1)]

    asyncio.run(scenario())


async def all_heard(client: Client) -> None:
    """Return when every move so far was followed: followers are moved in the order of the log."""
    await ask(client, "c.end", mapping("end", 1))
    await ask(client, "d.end", following("end", "c", "end:latest"))
    await ask(client, "c.end", mapping("end", 2))
    await until(client, "d", "end:latest", lambda rows: len(rows) == 2)


def test_own_events_that_nobody_follows_are_not_sent_back(nats_url: str) -> None:
    """The consumer is moved past them; what follows still hears of moves by this worker and by anybody else.

    Seen to fail when followers ignore every event, and when the consumer is moved one event too far.
    """

    async def scenario() -> None:
        async with worker(nats_url) as client:
            moved = await client.subscribe(RESET)
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "prod.app", following("app", "dev", "app:latest"))
            pushed = [await ask(client, "dev.other", mapping("other", number)) for number in range(3, 60)]
            await until_done(client, pushed[-1]["details"]["position"])
            assert json.loads((await moved.next_msg(WAIT_S)).data)["seq"] > 1
            await ask(client, "dev.app", mapping("app", 2))
            await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(2))
            await ask(client, "dev.other", mapping("other", 1))
            await push_unseen(client, "dev", "app", 60)
            rows = await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(60))
            assert len(rows) == 3

    asyncio.run(scenario())


def test_a_server_that_moves_no_consumer_sends_every_event(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers before 2.14 do not answer: all is heard and acknowledged, and followers move.

    Seen to fail when nothing is acknowledged where the consumer was not moved.
    """
    monkeypatch.setattr(nats_own_events, "MOVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(WireTransport, "send_on", lambda *_: True)

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "prod.app", following("app", "dev", "app:latest"))
            for number in range(3, 60):
                await ask(client, "dev.other", mapping("other", number))
            last = await ask(client, "dev.app", mapping("app", 2))
            await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(2))
            await until_done(client, last["details"]["position"])

    asyncio.run(scenario())


def test_learning_that_takes_longer_than_a_pin_lasts_is_done_once(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin is lost meanwhile; what is known by then is not learned again, and what another worker heard is.

    Seen to fail when everything is learned anew for every new pin, and when what was missed is not learned.
    """
    monkeypatch.setattr(nats_followers, "PIN_TIMEOUT_S", 1.0)
    read_last, began = LogSource.read_last, []

    async def slow(self: LogSource, subject: str) -> AsyncIterator[Any]:
        began.append(subject)
        await asyncio.sleep(1.5)  # as with a million tags
        async for messages in read_last(self, subject):
            yield messages

    monkeypatch.setattr(LogSource, "read_last", slow)

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            for number in range(1, 4):
                last = await ask(client, "dev.app", mapping("app", number))
            await until_done(client, last["details"]["position"])
            await hear_instead(client, "prod", "dev")
            moved = await ask(client, "dev.app", mapping("app", 5))
            rows = await until(client, "prod", "app:latest", lambda rows: rows[0]["image"] == digest(5))
            assert rows[0]["caused_by"] == moved["details"]["position"]
            assert len(began) == 1

    asyncio.run(scenario())


def test_a_chain_of_followers_shows_its_causes(nats_url: str) -> None:
    """A follower of a follower moves too, each caused by the one before it."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "a.app", mapping("app", 1))
            await ask(client, "b.app", following("app", "a", "app:latest"))
            await ask(client, "c.app", following("app", "b", "app:latest"))
            await ask(client, "a.app", mapping("app", 2))
            last = await until(client, "c", "app:latest", lambda rows: rows[0]["image"] == digest(2))
            middle = await history(client, "b", "app:latest")
            root = await history(client, "a", "app:latest")
            assert last[0]["caused_by"] == middle[0]["position"]
            assert middle[0]["caused_by"] == root[0]["position"]
            assert root[0]["caused_by"] is None

    asyncio.run(scenario())


def test_a_moves_trace_goes_on_in_those_who_follow(nats_url: str) -> None:
    """Each event of a chain carries the `traceparent` of the command that began it; without one, none.

    Seen to fail when `FollowerFeed._hear` does not continue the trace.
    """
    traces = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""]

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "test.app", following("app", "dev", "app:latest"))
            await until(client, "test", "app:latest", lambda rows: len(rows) == 1)
            await ask(client, "prod.app", following("app", "test", "app:latest"))
            await until(client, "prod", "app:latest", lambda rows: len(rows) == 1)
            for number, trace in enumerate(traces, 2):
                given = {"traceparent": trace} if trace else {}
                await ask(client, "dev.app", mapping("app", number), **given)
                await until(client, "prod", "app:latest", lambda rows, number=number: len(rows) == number)  # type: ignore[misc]
            moves = [record for record in await log_of(client) if record.body["type"] == "image_tagged"]
            wanted = [trace for trace in ("", *traces) for _ in range(3)]
            assert [record.headers.get("traceparent", "") for record in moves] == wanted

    asyncio.run(scenario())


def test_a_circle_is_refused_where_it_can_be_seen(nats_url: str) -> None:
    """To follow a tag that follows this one is Invalid, and the message shows the circle."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "a.app", mapping("app", 1))
            await ask(client, "b.app", following("app", "a", "app:latest"))
            refused = await ask(client, "a.app", following("app", "b", "app:latest"))
            assert refused["reason"] == "Invalid"
            assert "a/app:latest -> b/app:latest -> a/app:latest" in refused["message"]
            assert refused["details"]["causes"][0]["field"] == "tag.from.name"

    asyncio.run(scenario())


def test_a_circle_configured_at_the_same_moment_ends(nats_url: str) -> None:
    """Two tags that follow each other, configured before either could be seen, settle on one image.

    Seen to fail when `Followers._command` takes the source's head as it was at the event, and `following.follow` does
    not ask `_moved_by_hand`.
    """

    async def scenario() -> None:
        async with worker(nats_url) as client:
            log = await NatsLog(client).start()
            for here, there in (("a", "b"), ("b", "a")):
                await ask(client, f"{here}.app", mapping("app", 1))
                await configure_unseen(log, here, there)
            await asyncio.gather(ask(client, "a.app", mapping("app", 2)), ask(client, "b.app", mapping("app", 3)))
            await all_heard(client)
            a, b = await history(client, "a", "app:latest"), await history(client, "b", "app:latest")
            assert a[0]["image"] == b[0]["image"]
            assert len(a) + len(b) <= 6

    asyncio.run(scenario())


async def configure_unseen(log: NatsLog, here: str, there: str) -> None:
    """Store the spec of a follower as if nothing of the other side could have been seen."""
    name, source = ImageStreamName(here, "app"), ImageStreamName(there, "app")
    command = read_command(json.dumps(following("app", there, "app:latest")).encode())
    state = await log.load(name)
    facts = Facts(sources={TagName(source, "latest"): Source(exists=True)})
    context = Context(actor="me", cause=f"configure-{here}", now=state.time)
    await log.append(name, decide(command, state, context, facts).events, state.position)


def test_a_held_follower_withholds(nats_url: str) -> None:
    """A held tag is not moved by what it follows; the image is withheld and can be moved to later."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "dev.app", mapping("app", 1))
            await ask(client, "prod.app", following("app", "dev", "app:latest"))
            await ask(client, "prod.app", {"kind": "HoldTag", "metadata": {"name": "app:latest"}})
            await ask(client, "dev.app", mapping("app", 2))
            log = await NatsLog(client).start()
            tag = TagName(ImageStreamName("prod", "app"), "latest")
            async with asyncio.timeout(WAIT_S):
                while not ((stored := await log.tag_event(tag)) and (hold := stored[1].hold) and hold.withheld):
                    continue
            assert hold.withheld.image == digest(2)
            release = {"kind": "ReleaseTag", "metadata": {"name": "app:latest"}, "advance": True}
            assert (await ask(client, "prod.app", release))["details"]["moves"][0]["image"] == digest(2)

    asyncio.run(scenario())
