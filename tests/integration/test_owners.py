"""Several command workers: an image stream's commands go to the one that owns it, and to another if it is not there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_owners import Owners
from tagstack.adapters.nats_streams import settled
from tagstack.adapters.nats_wire import WireTransport
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.apps.commands import CommandsPart
from tests.examples_nats import WAIT_S, Json, ask, client_of, log_of, mapping, run, until, worker

GHOST = "ghost"
NAMES = [f"s{number}" for number in range(24)]
AGAIN_S = 0.3

both_transports = pytest.mark.parametrize("transport", ["fast", "plain"])


def owners_of(part: CommandsPart) -> Owners:
    """Return what sorts a worker's commands."""
    assert part._intake is not None
    return part._intake._owners


async def know(*parts: CommandsPart, others: int = 1) -> None:
    """Return when each of the workers knows so many others."""

    async def all_do() -> bool:
        return all(len(owners_of(part)._heard) == others for part in parts)

    await until(all_do)


def watched(part: CommandsPart) -> set[str]:
    """Return the names of the image streams whose commands a worker carries out from now on."""
    assert part._handler is not None
    found: set[str] = set()
    handle: Callable[[Request], Any] = part._handler.handle

    async def noted(request: Request) -> Outcome:
        found.add(request.target.name)
        done: Outcome = await handle(request)
        return done

    part._handler.handle = noted  # type: ignore[method-assign]
    return found


async def push_to_all(client: Client, number: int) -> list[Json]:
    """Push an image to every image stream, and return the answers."""
    return await asyncio.gather(*(ask(client, f"prod.{name}", mapping(name, number)) for name in NAMES))


async def announced(client: Client, word: bytes = b"here") -> None:
    """Let a worker that is not there say that it is."""
    await client.publish(f"tagstack.workers.{GHOST}", word)
    await settled(client)


@both_transports
def test_each_image_stream_is_carried_out_by_one_worker(nats_url: str, transport: str) -> None:
    """Whoever gets its commands, one of them carries them out; both have some, and all are answered.

    Seen to fail when `Owners.sort` takes everything.
    """

    async def scenario() -> None:
        settings = {"transport": transport}
        async with worker(nats_url, **settings) as one, worker(nats_url, **settings) as two:
            await know(one, two)
            mine, others = watched(one), watched(two)
            async with client_of(nats_url) as client:
                for number in range(8):
                    answers = await push_to_all(client, number)
                    assert all(answer["details"]["changed"] for answer in answers)
            assert (mine & others, mine | others) == (set(), set(NAMES))
            assert mine
            assert others

    run(scenario)


@both_transports
def test_what_was_handed_to_a_dead_worker_is_carried_out_at_once(nats_url: str, transport: str) -> None:
    """It is asked for once, and takes effect once, also when the others have not noticed yet.

    Seen to fail when `Owners._returned` does nothing.
    """

    async def scenario() -> None:
        async with worker(nats_url, transport=transport) as part, client_of(nats_url) as client:
            handed_on = 0
            for number in range(4):
                await announced(client)
                await know(part)
                answers = await push_to_all(client, number)
                assert all(answer["details"]["changed"] for answer in answers)
                assert owners_of(part).handed_on > handed_on
                handed_on = owners_of(part).handed_on
                assert owners_of(part)._heard == {}
            assert len(await log_of(client, "tagstack.events.*.*.tag.*")) == 4 * len(NAMES)

    run(scenario)


def test_a_worker_that_hangs_is_not_believed_for_long(nats_url: str) -> None:
    """It takes commands and answers none: whoever asks again is answered by another one soon.

    Seen to fail when `Owners._beat` forgets nobody.
    """

    async def scenario() -> None:
        async with worker(nats_url) as part, client_of(nats_url) as client:
            hanging = await client.subscribe(f"tagstack.handed.{GHOST}.>")
            await announced(client)
            await know(part)

            async def answered(name: str) -> Json:
                while True:
                    try:
                        async with asyncio.timeout(AGAIN_S):
                            return await ask(client, f"prod.{name}", mapping(name, 1), {"Tagstack-Command-Id": name})
                    except TimeoutError:
                        continue

            async with asyncio.timeout(WAIT_S):
                answers = await asyncio.gather(*map(answered, NAMES))
            assert {answer["status"] for answer in answers} == {"Success"}
            assert hanging.pending_msgs
            assert len(await log_of(client, "tagstack.events.*.*.tag.*")) == len(NAMES)

    run(scenario)


def test_a_worker_that_stops_says_so(nats_url: str) -> None:
    """What it has been handed is answered, nobody asks twice, and the other one knows at once that it is alone.

    Seen to fail when `Owners.stop` does not tell the others.
    """

    async def scenario() -> None:
        async with worker(nats_url) as one, client_of(nats_url) as client:
            async with worker(nats_url) as two:
                await know(one, two)
                asked = asyncio.create_task(push_to_all(client, 1))
                await until(lambda: log_of(client))
            assert owners_of(one)._heard == {}
            assert {answer["status"] for answer in await asked} == {"Success"}

    run(scenario)


def test_a_long_reply_subject_is_no_trouble(nats_url: str) -> None:
    """Where two subjects would be more than the server takes as one line, the command stays where it is.

    Seen to fail without the bound: the server cuts the worker's connection.
    """

    async def scenario() -> None:
        async with worker(nats_url) as part, client_of(nats_url) as client:
            await announced(client)
            await know(part)
            answers = await client.subscribe(f"_INBOX.{'x' * 3_780}.*")
            for name in NAMES:
                reply = answers.subject.replace("*", name)
                await client.publish(f"tagstack.commands.{'a' * 253}.prod.{name}", b"{}", reply)
            for _ in NAMES:
                assert b"BadRequest" in (await answers.next_msg(5)).data
            assert owners_of(part).handed_on == 0

    run(scenario)


def test_what_cannot_be_handed_on_is_carried_out_where_it_is(nats_url: str) -> None:
    """A header that nats-py reads and does not write: the command is answered all the same.

    Seen to fail when `Owners._hand_on` takes nothing back.
    """

    async def scenario() -> None:
        sender = await WireTransport(nats_url, "sender").connect()
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        await sender.subscribe("_INBOX.odd.*", lambda msg: answers.put_nowait(msg.data))
        async with worker(nats_url, transport="plain") as part, client_of(nats_url) as client:
            await announced(client)
            await know(part)
            for name in NAMES:
                body = json.dumps(mapping(name, 1)).encode()
                await sender.publish(f"tagstack.commands.me.prod.{name}", body, f"_INBOX.odd.{name}", {"odd@name": "x"})
            for _ in NAMES:
                async with asyncio.timeout(WAIT_S):
                    assert b"Success" in await answers.get()
        await sender.close()

    run(scenario)
