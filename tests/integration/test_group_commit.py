"""Group commit: what waits together goes as one atomic batch, and each command is answered as if it had gone alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters import nats_append
from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_group_commit import GROUP_MESSAGES_MAX, GroupCommit
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import declare
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.domain.errors import StaleState, TooLarge, UnknownOutcome
from tests.examples_nats import (
    Json,
    ask,
    check_chain,
    client_of,
    digest,
    log_of,
    mapping,
    run,
    stored_in,
    until,
    worker,
)
from tests.faults.proxy import proxy_before

MANY = 200
ANSWER_TIMEOUT_S = 3.0


class Watched(PlainTransport):
    """A connection that knows how many messages went by themselves, and how many in each batch."""

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self.alone = 0
        self.batches: list[int] = []

    async def publish(
        self, subject: str, body: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message."""
        headers = headers or {}
        if "Nats-Batch-Commit" in headers:
            self.batches.append(int(headers["Nats-Batch-Sequence"]))
        self.alone += "Nats-Batch-Id" not in headers
        await super().publish(subject, body, reply, headers)


def message(name: str, expected: int = 0, body: bytes = b"{}") -> Message:
    """Return a message to an image stream, with the guard that every append has and an id of its own."""
    guard = {
        "Nats-Expected-Last-Subject-Sequence": str(expected),
        "Nats-Expected-Last-Subject-Sequence-Subject": f"tagstack.events.prod.{name}.>",
    }
    return Message(f"tagstack.events.prod.{name}.tag.a", body, guard | {"Nats-Msg-Id": name})


async def started(client: Client, *, singles: bool = True) -> tuple[GroupCommit, Watched]:
    """Return an appender that groups, and its watched connection, on a declared log."""
    await declare(client)
    watched = Watched(client)
    return await GroupCommit(Appender(watched), singles=singles).start(), watched


async def together(grouped: GroupCommit, messages: list[Message]) -> list[int | BaseException]:
    """Append messages at the same time and return what each one was told."""
    return await asyncio.gather(*(grouped.append(each) for each in messages), return_exceptions=True)


def test_what_waits_goes_together_and_each_gets_its_position(nats_url: str) -> None:
    """Many at once take a few batches, none over the bound, and every position told is the message's own.

    Seen to fail with positions counted from the batch's last message instead of its first.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client)
            names = [f"s{number}" for number in range(3 * GROUP_MESSAGES_MAX)]
            positions = await together(grouped, [message(name) for name in names])
            assert watched.alone + sum(watched.batches) == len(names)
            assert len(watched.batches) >= 3
            assert max(watched.batches) <= GROUP_MESSAGES_MAX
            stored = {event.subject.split(".")[3]: event.position for event in await log_of(client)}
            assert [stored[name] for name in names] == positions

    run(scenario)


def test_where_nobody_waits_nothing_is_grouped(nats_url: str) -> None:
    """One at a time, and few at a time, are appended as they are: a batch would take longer."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client)
            for number in range(5):
                assert await grouped.append(message(f"s{number}")) == number + 1
            await together(grouped, [message(f"t{number}") for number in range(8)])
            assert (watched.alone, watched.batches) == (13, [])

    run(scenario)


def pair(name: str, expected: int = 0) -> list[Message]:
    """Return two messages to an image stream that are to be stored both or not at all."""
    first = message(name, expected)
    return [first, Message(f"{first.subject}b", b"{}", {"Nats-Msg-Id": f"{name}b"})]


def test_batches_that_wait_become_one_and_single_messages_go_alone(nats_url: str) -> None:
    """Where the server does not sync before each ack only batches wait for each other, and each gets its position.

    Seen to fail when fewer than 16 of them went one by one, and when single messages waited too.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client, singles=False)
            pairs = [grouped.append_batch(pair(f"p{number}")) for number in range(10)]
            positions = await asyncio.gather(*pairs, *(grouped.append(message(f"s{n}")) for n in range(MANY)))
            assert watched.batches == [2, 18]
            assert watched.alone == MANY
            stored = {event.subject: event.position for event in await log_of(client)}
            assert [stored[f"tagstack.events.prod.p{number}.tag.ab"] for number in range(10)] == positions[:10]

    run(scenario)


def test_of_batches_together_the_refused_one_alone_is_not_stored(nats_url: str) -> None:
    """A stale guard among batches that wait: that one is stored with none of its messages, the others as a whole.

    Seen to fail when a refused batch refused each of its members.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client, singles=False)
            asked = [grouped.append_batch(pair(f"p{number}", 7 if number == 5 else 0)) for number in range(10)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(found[5], StaleState)
            assert max(watched.batches) == 18
            assert sorted(event.subject.split(".")[3] for event in await log_of(client)) == sorted(
                f"p{number}" for number in range(10) if number != 5 for _ in range(2)
            )

    run(scenario)


def test_one_that_is_refused_takes_none_with_it(nats_url: str) -> None:
    """A stale guard, an id that is stored already and a header that is too large, each in a group of many.

    Seen to fail when a refused batch refused each of its members.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client)
            await grouped.append(message("s0"))
            large = Message("tagstack.events.prod.large.tag.a", b"{}", {"big": "y" * 70_000})
            wrong = {StaleState: message("x", 7), UnknownOutcome: message("s0", 1), TooLarge: large}
            for round_, (told, refused) in enumerate(wrong.items()):
                good = [message(f"r{round_}n{number}") for number in range(MANY)]
                before = len(watched.batches)
                found = await together(grouped, [*good[:50], refused, *good[50:]])
                assert isinstance(found.pop(50), told)
                assert len({each for each in found if isinstance(each, int)}) == MANY
                assert len(watched.batches) > before
            assert await stored_in(client, "TAGSTACK_EVENTS") == 1 + len(wrong) * MANY

    run(scenario)


def test_two_that_expect_the_same_are_never_in_one_group(nats_url: str) -> None:
    """The server judges all guards of a batch by the state before it, so it would store both.

    Seen to fail without the look at the guards that a group holds already.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, _ = await started(client)
            twins = [Message(f"tagstack.events.prod.twin.tag.{tag}", b"{}", message("twin").headers) for tag in "ab"]
            twins = [Message(twin.subject, twin.body, twin.headers | {"Nats-Msg-Id": twin.subject}) for twin in twins]
            found = await together(grouped, [*(message(f"s{number}") for number in range(50)), *twins])
            assert sorted(type(each).__name__ for each in found[50:]) == ["StaleState", "int"]

    run(scenario)


def test_what_is_large_goes_by_itself(nats_url: str) -> None:
    """Bodies near the server's limit among many small ones are stored, each on its own."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            grouped, watched = await started(client)
            bodies = [b"x" * (client.max_payload - 1_000) if number % 20 == 19 else b"{}" for number in range(MANY)]
            found = await together(grouped, [message(f"s{number}", 0, body) for number, body in enumerate(bodies)])
            assert len({each for each in found if isinstance(each, int)}) == MANY
            assert watched.alone >= 10

    run(scenario)


@pytest.mark.parametrize("repeatable", [True, False])
def test_the_lost_answer_of_a_group_is_looked_up_by_each(
    nats_url: str, repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is stored, its ack lost: every command finds its own event and is answered; none is stored twice.

    Seen to fail when a group without an ack was told to its members as not stored.
    """
    monkeypatch.setattr(nats_append, "ACK_TIMEOUT_S", 0.5)

    async def scenario() -> None:
        async with (
            proxy_before(nats_url) as proxy,
            worker(proxy.url, sync_interval="always"),
            client_of(nats_url) as client,
        ):
            await asyncio.gather(*(ask(client, f"prod.s{n}", mapping(f"s{n}", n)) for n in range(MANY)))
            proxy.lose_answer_to(b"Nats-Batch-Commit")
            headers = [{"Tagstack-Command-Id": f"c{n}"} if repeatable else {} for n in range(MANY)]
            answers = await asyncio.gather(
                *(ask(client, f"prod.s{n}", mapping(f"s{n}", n + 1), headers[n]) for n in range(MANY))
            )
            assert proxy.lost == 1
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            assert len(tagged) == 2 * MANY
            told = {event.position: event.body for event in tagged}
            for number, answer in enumerate(answers):
                event = told[answer["details"]["position"]]
                assert (event["imageStream"], event["image"]) == (f"s{number}", digest(number + 1))

    run(scenario)


@pytest.mark.usefixtures("nobody_owns")
def test_two_workers_that_group_lose_no_update(tmp_path: Path) -> None:
    """Both push to the same image streams of a server that syncs always: every tag's chain is unbroken."""

    async def scenario(url: str) -> None:
        async with (
            worker(url, sync_interval="always"),
            worker(url, sync_interval="always"),
            client_of(url) as client,
        ):
            for round_ in range(5):
                asked = [ask(client, f"prod.s{n}", mapping(f"s{n}", round_ * MANY + n)) for n in range(MANY)]
                answers = await asyncio.gather(*asked)
                assert {answer["status"] for answer in answers} == {"Success"}
            for number in range(MANY):
                events = await log_of(client, f"tagstack.events.prod.s{number}.>")
                check_chain(events)
                assert len(events) == 6

    server = NatsServer(tmp_path / "nats", ServerOptions(sync_interval="always")).start()
    try:
        run(lambda: scenario(server.url))
    finally:
        server.stop()


class Pusher:
    """Pushes to one image stream, each command until it is answered, and keeps what it was told."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._name = f"s{number}"
        self.told: dict[str, Json] = {}

    async def work(self, stopped: asyncio.Event) -> None:
        """Push image after image, until stopped."""
        number = 0
        while not stopped.is_set():
            command_id = f"{self._name}-{number}"
            with suppress(NatsError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    command = mapping(self._name, number)
                    answer = await ask(self._client, f"prod.{self._name}", command, {"Tagstack-Command-Id": command_id})
                if answer["status"] == "Success":
                    self.told[command_id] = answer["details"]
                    number += 1


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_amid_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of a server that syncs always, thrice under load: what was acknowledged is in the log once."""
    monkeypatch.setattr(nats_append, "ACK_TIMEOUT_S", 0.5)

    async def scenario(server: NatsServer) -> None:
        async with worker(server.url, sync_interval="always"), client_of(server.url) as client:
            pushers, stopped = [Pusher(client, number) for number in range(MANY)], asyncio.Event()
            tasks = [asyncio.create_task(pusher.work(stopped)) for pusher in pushers]

            async def so_many(count: int) -> bool:
                return sum(len(pusher.told) for pusher in pushers) >= count

            for kills in range(3):
                await until(lambda kills=kills: so_many((kills + 1) * 3 * MANY))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await until(lambda: so_many(12 * MANY))
            stopped.set()
            await asyncio.gather(*tasks)
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            positions = {event.body["cause"]: event.position for event in tagged}
            assert len(positions) == len(tagged)
            for pusher in pushers:
                assert {each: positions[each] for each in pusher.told} == {
                    each: details["position"] for each, details in pusher.told.items()
                }

    server = NatsServer(tmp_path / "nats", ServerOptions(sync_interval="always")).start()
    try:
        run(lambda: scenario(server))
    finally:
        server.stop()
