"""Appends under optimistic concurrency, and image streams with thousands of tags."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import declare, settled
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.ports import Request
from tagstack.application.replies import MOVES_MAX
from tagstack.apps.commands import now
from tagstack.domain.errors import TooLarge, Unavailable
from tagstack.domain.events import Event
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of
from tests.examples_nats import Json, ask, check_chain, client_of, digest, log_of, mapping, run, stored_in, worker

API = ImageStreamName("prod", "api")
TAGS = 5_000


@pytest.mark.usefixtures("nobody_owns")
def test_eight_clients_and_two_workers_lose_no_update(nats_url: str) -> None:
    """Pushes to the same tags through two workers at once: each is an event, and every tag's chain is unbroken.

    Seen to fail when `nats_log._guard` expects nothing.
    """
    clients, pushes = 8, 25

    async def scenario() -> None:
        async with worker(nats_url), worker(nats_url), AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(client_of(nats_url)) for _ in range(clients)]

            async def push(number: int) -> list[Json]:
                told = []
                for each in range(pushes):
                    command = mapping("api", number * pushes + each, f"t{each % 3}")
                    told.append((await ask(connections[number], "prod.api", command))["details"])
                return told

            answers = [each for told in await asyncio.gather(*map(push, range(clients))) for each in told]
            tagged = await log_of(connections[0], "tagstack.events.*.*.tag.*")
            check_chain(tagged)
            assert sorted(answer["position"] for answer in answers) == [event.position for event in tagged]
            by_position = {event.position: event.body for event in tagged}
            for answer in answers:
                [move] = answer["moves"]
                stored = by_position[answer["position"]]
                assert (move["image"], move["previousImage"]) == (stored["image"], stored["previousImage"])

    run(scenario)


@pytest.mark.usefixtures("nobody_owns")
def test_only_one_of_two_that_expect_the_same_head_wins(nats_url: str) -> None:
    """`expectedImage` is judged by the last word, also when both workers believe the old one."""

    async def scenario() -> None:
        async with worker(nats_url), worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 0))
            head = 0
            for number in range(1, 20):
                asked = [
                    ask(client, "prod.api", mapping("api", number * 10 + each, expectedImage=digest(head)))
                    for each in range(4)
                ]
                answers = await asyncio.gather(*asked)
                accepted = [each for each, answer in enumerate(answers) if answer["status"] == "Success"]
                assert len(accepted) == 1
                assert {answer.get("reason", "") for answer in answers} == {"", "Conflict"}
                head = number * 10 + accepted[0]

    run(scenario)


def test_time_never_goes_back_even_if_the_clock_does(nats_url: str) -> None:
    """Events stored while the clock is an hour behind carry the time of the one before them.

    Seen to fail when `Draft` takes the clock's time without looking at the image stream's.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            begin = datetime(2026, 1, 1, tzinfo=UTC)
            for number, hours in enumerate([0, 5, 4, -3, 6]):
                moment = text_of(begin + timedelta(hours=hours))
                handler = await handler_of(client, lambda moment=moment: moment)
                await handler.handle(request(mapping("api", number)))
            tagged = await log_of(client)
            check_chain(tagged)
            hours = [event.body["time"][11:13] for event in tagged if "tag" in event.body]
            assert hours == ["00", "05", "05", "05", "06"]

    run(scenario)


async def handler_of(client: Client, now: Callable[[], str]) -> CommandHandler:
    """Return a cold handler whose clock is ours."""
    uids = count()
    log = await NatsLog(client).start()
    return CommandHandler(log, Surroundings(now, lambda: f"uid{next(uids)}", Grants()))


def request(command: Json, command_id: str = "") -> Request:
    """Return a request to `prod/api`."""
    return Request("me", API, json.dumps(command).encode(), command_id or uuid.uuid4().hex)


def image_stream_of(tags: Sequence[int]) -> Json:
    """Return an image stream whose tags are pinned pull specs."""
    spec = [{"name": f"t{n}", "from": {"kind": "DockerImage", "name": f"r.example/a/b:{n}"}} for n in tags]
    return {"kind": "ImageStream", "metadata": {"name": "api"}, "spec": {"tags": spec}}


def test_more_than_900_tags_in_one_command_are_invalid(nats_url: str) -> None:
    """What one atomic batch can't carry is refused as a whole; 890 tags are stored as a whole."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            refused = await ask(client, "prod.api", image_stream_of(range(901)))
            assert (refused["reason"], refused["details"]["causes"][0]["field"]) == ("Invalid", "spec.tags")
            assert await stored_in(client, "TAGSTACK_EVENTS") == 0
            assert (await ask(client, "prod.api", image_stream_of(range(890))))["status"] == "Success"
            stored = await log_of(client)
            assert [event.body["number"] for event in stored] == list(range(1, 892))
            assert [event.body["last"] for event in stored].index(True) == 890

    run(scenario)


class Dying(NatsLog):
    """A log whose writer dies before its n-th append."""

    appends_max = 1_000_000

    async def append(
        self, name: ImageStreamName, events: Sequence[Event], expected: int, previous: Sequence[int] = ()
    ) -> int:
        """Store events, until the end."""
        if self.appends_max == 0:
            raise Unavailable("died")
        self.appends_max -= 1
        return await super().append(name, events, expected, previous)


def test_five_thousand_tags(nats_url: str) -> None:
    """A cold worker loads more tags than one request answers for, pushes go on, and a delete takes several batches.

    Killed half-way the delete is finished by whoever loads the image stream next, with one answer for all.

    Seen to fail when `CommandHandler._finish_deletion` stores one batch only.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            writer = await handler_of(client, now)
            for first in range(0, TAGS, 100):
                pushes = [writer.handle(request(mapping("api", n, f"t{n}"))) for n in range(first, first + 100)]
                await asyncio.gather(*pushes)
            cold = await (await NatsLog(client).start()).load(API)
            assert len(cold.tags) == TAGS
            moved = await (await handler_of(client, now)).handle(request(mapping("api", 7, "t4999")))
            assert moved.moves == [{"tag": "t4999", "image": digest(7), "previousImage": digest(4_999)}]

            log = await Dying(client).start()
            log.appends_max = 3
            delete = {"kind": "DeleteImageStream", "metadata": {"name": "api"}}
            dying = CommandHandler(log, Surroundings(now, lambda: "u", Grants()))
            with pytest.raises(Unavailable):
                await dying.handle(request(delete, "delete"))
            halfway = await (await NatsLog(client).start()).load(API)
            assert not halfway.exists
            assert len(halfway.tags) == TAGS - 899 - 2 * 900
            done = await (await handler_of(client, now)).handle(request(delete, "delete"))
            assert len(done.moves) == TAGS
            gone = [event.body for event in await log_of(client) if event.body["type"] == "tag_deleted"]
            assert len({event["tag"] for event in gone}) == len(gone) == TAGS
            assert {event["cause"] for event in gone} == {"delete"}
            assert [event["last"] for event in gone].index(True) == TAGS - 1
            again = await (await handler_of(client, now)).handle(request(delete, "delete"))
            assert again == done
            reborn = await (await handler_of(client, now)).handle(request(mapping("api", 1, "t1")))
            assert reborn.moves == [{"tag": "t1", "image": digest(1), "previousImage": None}]

    run(scenario)


def test_a_delete_of_many_tags_is_answered_the_same_when_repeated(nats_url: str) -> None:
    """The first answer names every tag, not only those of the first batch.

    Seen to fail when `CommandHandler._decide_and_store` answers with the events of the first batch.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                for first in range(0, 1_000, 100):
                    await asyncio.gather(
                        *(ask(client, "prod.api", mapping("api", n, f"t{n}")) for n in range(first, first + 100))
                    )
                delete = {"kind": "DeleteImageStream", "metadata": {"name": "api"}}
                done = await ask(client, "prod.api", delete, {"Tagstack-Command-Id": "d"})
                assert len(done["details"]["moves"]) == 1_000
            async with worker(nats_url):
                assert await ask(client, "prod.api", delete, {"Tagstack-Command-Id": "d"}) == done

    run(scenario)


def test_a_reply_larger_than_the_server_takes_is_cut_and_says_so(tmp_path: Path) -> None:
    """On a server with the usual limit of 1 MB, the moves of a great deletion are cut: how many, and where they are.

    Seen to fail when the intake sends the whole reply or none.
    """
    command_id, long = {"Tagstack-Command-Id": "d"}, "t" * 124

    def push(number: int) -> Json:
        image = {"metadata": {"name": f"sha512:{number:0128x}"}, "dockerImageReference": "r.example/p/api"}
        return mapping("api", 0, f"{long}{number:04}") | {"image": image}

    async def scenario(url: str) -> None:
        async with client_of(url) as client, worker(url):
            for first in range(0, 3_500, 500):
                await asyncio.gather(*(ask(client, "prod.api", push(first + n)) for n in range(500)))
            delete = {"kind": "DeleteImageStream", "metadata": {"name": "api"}}
            done = await ask(client, "prod.api", delete, command_id)
            assert (done["status"], done["details"]["changed"]) == ("Success", True)
            assert (len(done["details"]["moves"]), done["details"]["movesLeftOut"]) == (MOVES_MAX, 3_500 - MOVES_MAX)
            assert done["message"].endswith("the events whose cause is d tell them")

    server = NatsServer(tmp_path / "nats", ServerOptions(extra="max_payload: 1MB")).start()
    try:
        run(lambda: scenario(server.url))
    finally:
        server.stop()


class Cut(PlainTransport):
    """A connection whose owner dies after so many messages."""

    messages_max = 0

    async def publish(
        self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message, until the end."""
        if self.messages_max == 0:
            raise Unavailable("died")
        self.messages_max -= 1
        await super().publish(subject, body, reply, headers)


def test_events_of_one_command_are_stored_as_a_whole_or_not_at_all(nats_url: str) -> None:
    """A worker dies after each number of the command's messages: nothing of it is in the log; then it is once.

    Seen to fail when `NatsLog.append` sends each event by itself.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            command = request(image_stream_of(range(4)), "whole")
            for sent in range(5):
                cut = Cut(client)
                cut.messages_max = 1 + sent  # the first one asks for the state
                dying = CommandHandler(await NatsLog(client, cut).start(), Surroundings(now, lambda: "u", Grants()))
                with pytest.raises(Unavailable):
                    await dying.handle(command)
                await settled(client)
                assert await log_of(client) == []
            await (await handler_of(client, now)).handle(command)
            assert [event.body["number"] for event in await log_of(client)] == [1, 2, 3, 4, 5]

    run(scenario)


def test_what_is_over_the_servers_limit_with_its_headers_is_refused_here(nats_url: str) -> None:
    """The server cuts the connection of whoever sends too much, so it is never sent; at the limit it is stored."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            appender = await Appender(PlainTransport(client)).start()
            headers = {"ce-id": "é" * 10, "x": "y"}
            framing = len(b"NATS/1.0\r\nce-id: \r\nx: y\r\n\r\n") + 20
            room = client.max_payload - framing
            with pytest.raises(TooLarge):
                await appender.append(Message("tagstack.events.a.b.stream", b"x" * (room + 1), headers))
            assert await appender.append(Message("tagstack.events.a.b.stream", b"x" * room, headers)) == 1
            with pytest.raises(TooLarge):
                await appender.append(Message("tagstack.events.a.b.stream", b"x", {"big": "y" * 70_000}))
            assert client.is_connected

    run(scenario)


def test_without_streams_the_log_is_unavailable(nats_url: str) -> None:
    """Nothing takes the subject: told at once, not after a timeout."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            appender = await Appender(PlainTransport(client)).start()
            with pytest.raises(Unavailable):
                await appender.append(Message("tagstack.events.a.b.stream", b"{}", {}))

    run(scenario)
