"""Many commands at once: bounded, refused with a hint, and answered when the worker stops."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters import nats_intake
from tagstack.adapters.nats_owners import Command
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.apps.commands import CommandsPart
from tests.examples_nats import WAIT_S, ask, client_of, log_of, mapping, run, stored_in, until, worker


async def flood(client: Client, count: int) -> list[dict[str, Any]]:
    """Send commands to as many image streams at once and return the replies."""
    return await asyncio.gather(*(ask(client, f"prod.s{n}", mapping(f"s{n}", n)) for n in range(count)))


def test_over_the_bound_of_commands_in_flight_the_answer_comes_at_once(nats_url: str) -> None:
    """What is over the bound is TooManyRequests with a hint when to retry; afterwards everything works as before.

    Seen to fail when neither `CommandIntake` nor `CommandHandler.handle` has a bound.
    """

    async def scenario() -> None:
        async with worker(nats_url, in_flight_max=8) as part, client_of(nats_url) as client:
            answers = await flood(client, 200)
            refused = [answer for answer in answers if answer["status"] == "Failure"]
            assert 0 < len(refused) < 200
            for answer in refused:
                assert (answer["reason"], answer["code"]) == ("TooManyRequests", 429)
                assert answer["details"]["retryAfterSeconds"] >= 1
            assert in_flight(part) == 0
            for n in range(20):
                assert (await ask(client, "prod.s1", mapping("s1", 1_000 + n)))["status"] == "Success"

    run(scenario)


def test_many_times_the_bound_are_all_answered(nats_url: str) -> None:
    """Waves of many times what a worker carries: each command succeeds or is told to come back, none is left.

    Never more than the bound are in flight, and the next command succeeds.
    Seen to fail without the bound, and when what was refused did not count as answered.
    """
    bound, wave, waves = 16, 2_000, 3

    async def scenario() -> None:
        async with worker(nats_url, in_flight_max=bound) as part, client_of(nats_url) as client:
            most, handle = 0, part._handler.handle  # type: ignore[union-attr]

            async def watched(request: Request) -> Outcome:
                nonlocal most
                most = max(most, in_flight(part) + 1)
                return await handle(request)

            part._handler.handle = watched  # type: ignore[method-assign, union-attr]
            for _ in range(waves):
                answers = await flood(client, wave)
                refused = [answer for answer in answers if answer["status"] == "Failure"]
                assert len(refused) > wave / 2
                assert {answer["code"] for answer in refused} == {429}
                assert {answer["details"]["retryAfterSeconds"] for answer in refused} == {1}
            assert most == bound
            assert in_flight(part) == 0
            assert (await ask(client, "prod.s1", mapping("s1", 9_999)))["status"] == "Success"

    run(scenario)


def in_flight(part: CommandsPart) -> int:
    """Return how many commands a worker is carrying out."""
    assert part._handler is not None
    return part._handler.in_flight


def test_many_large_batches_at_the_same_moment(nats_url: str) -> None:
    """The server takes 50 unfinished atomic batches at once; more of them wait for their turn and none is refused."""

    def image_stream(name: str) -> dict[str, Any]:
        source = {"kind": "DockerImage", "name": "r.example/a/b:c"}
        tags = [{"name": f"t{number}", "from": source} for number in range(300)]
        return {"kind": "ImageStream", "metadata": {"name": name}, "spec": {"tags": tags}}

    async def scenario() -> None:
        async with worker(nats_url), worker(nats_url), client_of(nats_url) as client:
            asked = [ask(client, f"prod.s{n}", image_stream(f"s{n}")) for n in range(120)]
            answers = await asyncio.gather(*asked)
            assert [answer for answer in answers if answer["status"] != "Success"] == []

    run(scenario)


def test_a_worker_that_stops_answers_what_it_has_taken(nats_url: str) -> None:
    """Every command that reached a worker before it was told to stop gets its reply.

    Seen to fail when `CommandIntake.stop` waits for nothing.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                asked = asyncio.gather(*(ask(client, "prod.api", mapping("api", n)) for n in range(100)))
                await until(lambda: stored_in(client, "TAGSTACK_EVENTS"))
            assert {answer["status"] for answer in await asked} == {"Success"}

    run(scenario)


def test_commands_one_after_the_other_are_carried_out_by_one_task(nats_url: str) -> None:
    """A task is kept for the next command, and nothing of the one before stays with it: no trace, no reason.

    Seen to fail when the trace of a command was left for the next one.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def scenario() -> None:
        async with worker(nats_url) as part, client_of(nats_url) as client:
            given = [{"traceparent": trace, "Tagstack-Reason": "why"}, None, {"traceparent": "no trace"}, None]
            for number, headers in enumerate(given):
                await ask(client, "prod.api", mapping("api", number), headers)
            assert part._intake is not None
            assert len(part._intake._tasks) == 1
            moves = await log_of(client, "tagstack.events.prod.api.tag.latest")
            assert [record.headers.get("traceparent") for record in moves] == [trace, None, None, None]
            assert [record.body["reason"] for record in moves] == ["why", "", "", ""]

    run(scenario)


def test_tasks_that_have_nothing_to_do_are_kept_within_a_bound(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many commands at once only so many tasks are left, and none once the worker has stopped.

    Seen to fail without the bound, and when a stop left the idle ones waiting.
    """
    monkeypatch.setattr(nats_intake, "IDLE_MAX", 5)

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url) as part:
                assert part._intake is not None
                tasks = part._intake._tasks
                assert {answer["status"] for answer in await flood(client, 200)} == {"Success"}
                await until(lambda: _is(len(tasks) <= 5))
                assert len(tasks) == 5
            assert not tasks

    run(scenario)


def test_what_comes_back_after_a_stop_is_answered(nats_url: str) -> None:
    """A command that was handed on to an owner who is gone may come back while, or after, the worker stops.

    Seen to fail when a stop left the tasks that it ended among those that wait.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client, worker(nats_url) as part:
            assert part._intake is not None
            await ask(client, "prod.api", mapping("api", 1))
            await part._intake.stop(1.0)
            answer = await client.subscribe("_INBOX.late")
            await client.flush()
            subject = "tagstack.commands.me.prod.api"
            part._intake._take(Command(subject, "_INBOX.late", None, json.dumps(mapping("api", 2)).encode()))
            assert json.loads((await answer.next_msg(WAIT_S)).data)["status"] == "Success"

    run(scenario)


async def _is(holds: bool) -> bool:
    return holds
