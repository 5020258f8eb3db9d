"""What a bug of ours does: the command or query that meets it is answered, and everyone else is served."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tagstack.adapters import nats_queries
from tagstack.application import handler
from tagstack.apps.commands import CommandsPart
from tagstack.domain.events import Event
from tagstack.domain.image_stream import ImageStream
from tests.examples_nats import WAIT_S, ask, check_chain, client_of, log_of, mapping, run, worker


def in_flight(part: CommandsPart) -> int:
    """Return how many commands a worker is carrying out."""
    assert part._handler is not None
    return part._handler.in_flight


def test_a_bug_is_answered_and_the_worker_goes_on(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the command that meets it gets a 500, in words; the log has the error; those who waited with it are served.

    Seen to fail without the answer to what no rule foresees, and when a group failed with one of its members.
    """
    decide = handler.decide

    def stumble(command: Any, *rest: Any) -> Any:
        if command.tag == "stone":
            raise KeyError("no rule foresees this")
        return decide(command, *rest)

    monkeypatch.setattr(handler, "decide", stumble)

    async def scenario() -> None:
        async with worker(nats_url) as part, client_of(nats_url) as client:
            for number in (0, 1):  # pushes of images that are known go together
                await ask(client, "prod.api", mapping("api", number))
            tags = ["latest"] * 10 + ["stone"] + ["latest"] * 10
            asked = [ask(client, "prod.api", mapping("api", number % 2, tag)) for number, tag in enumerate(tags)]
            answers = await asyncio.gather(*asked)
            bug = answers.pop(10)
            assert (bug["status"], bug["reason"], bug["code"]) == ("Failure", "InternalError", 500)
            assert "KeyError" in bug["message"]
            assert {answer["status"] for answer in answers} == {"Success"}
            assert "no rule foresees this" in caplog.text
            assert in_flight(part) == 0
            check_chain(await log_of(client))

    run(scenario)


def test_a_bug_after_the_append_leaves_no_half_known_state(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before the bug is read from the log by the next command.

    Seen to fail when the state was kept as it was: the next event named the wrong previous image.
    """
    fold = handler.evolve

    def stumble(state: ImageStream, event: Event, position: int) -> None:
        state.position = position
        raise KeyError("half-way")

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            monkeypatch.setattr(handler, "evolve", stumble)
            assert (await ask(client, "prod.api", mapping("api", 2)))["code"] == 500
            monkeypatch.setattr(handler, "evolve", fold)
            await ask(client, "prod.api", mapping("api", 3))
            check_chain(await log_of(client))

    run(scenario)


def test_a_query_that_meets_a_bug_is_answered(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a 500, and the next one its answer."""

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            await ask(client, "prod.api", mapping("api", 1))
            query = json.dumps({"kind": "ImageStreamTag", "name": "api:latest"}).encode()
            with monkeypatch.context() as patched:
                patched.setattr(nats_queries, "read_query", lambda _: 1 / 0)
                reply = await client.request("tagstack.queries.me.prod", query, timeout=WAIT_S)
            assert (json.loads(reply.data)["reason"], json.loads(reply.data)["code"]) == ("InternalError", 500)
            reply = await client.request("tagstack.queries.me.prod", query, timeout=WAIT_S)
            assert json.loads(reply.data)["kind"] == "ImageStreamTag"

    run(scenario)
