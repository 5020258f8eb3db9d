"""Once means once: the same command delivered again at once, late, elsewhere, or after a restart."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream, stream_info
from tests.examples_nats import Json, ago, ask, check_chain, client_of, digest, direct, log_of, mapping, run, worker

ALIAS = {"kind": "ImageStreamTag", "name": "latest"}
LONG_AGO = {"days": 3.0}


def once(command_id: str, sent: str = "") -> dict[str, str]:
    """Return the headers of a command that may be sent again."""
    return {"Tagstack-Command-Id": command_id} | ({"Tagstack-Sent": sent} if sent else {})


def delete(name: str, **more: object) -> Json:
    """Return a command that deletes a tag."""
    return {"kind": "DeleteImageStreamTag", "metadata": {"name": name}, **more}


@pytest.mark.parametrize("sent", ["", "now", "long ago", "in the future"])
@pytest.mark.usefixtures("nobody_owns")
def test_a_command_delivered_twice_at_once_takes_effect_once(nats_url: str, sent: str) -> None:
    """Two deliveries at the same moment to two workers, eighty times: one event each, one answer for both.

    Seen to fail when `CommandHandler._seen` looks for no command.
    """
    times = {"": "", "now": ago(), "long ago": ago(**LONG_AGO), "in the future": ago(days=-1)}

    async def scenario() -> None:
        async with worker(nats_url), worker(nats_url), client_of(nats_url) as client:
            for number in range(20):
                headers = once(f"c{number}", times[sent])
                asked = [ask(client, "prod.api", mapping("api", number), headers) for _ in range(4)]
                answers = await asyncio.gather(*asked)
                assert all(answer == answers[0] for answer in answers), answers
                assert answers[0]["details"]["changed"] is True
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            assert [event.body["cause"] for event in tagged] == [f"c{number}" for number in range(20)]
            check_chain(tagged)

    run(scenario)


@pytest.mark.parametrize("sent", ["", "then"])
def test_a_repeated_command_gets_its_first_answer_after_restarts(nats_url: str, sent: str) -> None:
    """A worker that never saw the first delivery finds it in the log: same position, same moves, no event.

    Seen to fail when `idempotency.outcomes` tells of a command's last event only.
    """
    commands: list[Json] = [
        mapping("api", 1),
        mapping("api", 2),
        {"kind": "RollbackTag", "metadata": {"name": "api:latest"}},
        mapping("api", 3),
        {"kind": "ReleaseTag", "metadata": {"name": "api:latest"}, "advance": True},
        {
            "kind": "ImageStreamTag",
            "metadata": {"name": "api:stable"},
            "tag": {"from": {"kind": "ImageStreamTag", "name": "latest"}},
        },
        mapping("api", 4),
        delete("api:stable"),
        {"kind": "DeleteImageStream", "metadata": {"name": "api"}},
    ]

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            headers = [once(f"c{number}", ago() if sent else "") for number in range(len(commands))]
            async with worker(nats_url):
                first = [await ask(client, "prod.api", *each) for each in zip(commands, headers, strict=True)]
            stored = await log_of(client)
            assert [answer["details"]["withheld"] for answer in first].count(True) == 1
            assert len(first[6]["details"]["moves"]) == 2
            for _ in range(2):
                async with worker(nats_url):
                    again = [await ask(client, "prod.api", *each) for each in zip(commands, headers, strict=True)]
                assert again == first
            assert await log_of(client) == stored

    run(scenario)


def test_a_command_repeated_long_after_the_duplicate_window(nats_url: str) -> None:
    """Neither the server's memory of message ids nor a worker's cache is needed, only the log.

    Seen to fail when `Aggregate.must_read` reads nothing for a command without `Tagstack-Sent`.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            async with worker(nats_url):
                first = await ask(client, "prod.api", mapping("api", 1), once("a", ago(**LONG_AGO)))
                await ask(client, "prod.api", mapping("api", 2), once("b"))
            await forget_message_ids(client)
            for sent in (ago(**LONG_AGO), ""):
                async with worker(nats_url):
                    assert await ask(client, "prod.api", mapping("api", 1), once("a", sent)) == first
            async with worker(nats_url):
                await ask(client, "prod.api", mapping("api", 3), once("c"))
                assert await ask(client, "prod.api", mapping("api", 1), once("a")) == first
            images = [event.body["image"] for event in await log_of(client, "tagstack.events.*.*.tag.*")]
            assert images == [digest(1), digest(2), digest(3)]

    run(scenario)


async def forget_message_ids(client: Client) -> None:
    """Make the server forget every message id: with a window of 100 ms, that has passed."""
    config = (await stream_info(client, EVENTS_STREAM))["config"]
    answer = await jetstream(client, f"STREAM.UPDATE.{EVENTS_STREAM}", config | {"duplicate_window": 10**8})
    assert "error" not in answer
    await asyncio.sleep(0.2)


def test_a_command_without_effect_or_refused_is_judged_anew(nats_url: str) -> None:
    """What wrote nothing is no memory: the same id is judged by what is true now.

    Seen to fail when `CommandHandler._decide_and_store` remembers commands without effect too.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            refused = await ask(client, "prod.api", delete("api:latest"), once("d"))
            assert refused["reason"] == "NotFound"
            await ask(client, "prod.api", mapping("api", 1))
            unchanged = await ask(client, "prod.api", mapping("api", 1), once("m"))
            assert unchanged["details"]["changed"] is False
            accepted = await ask(client, "prod.api", delete("api:latest"), once("d"))
            assert accepted["details"]["changed"] is True
            moved = await ask(client, "prod.api", mapping("api", 1), once("m"))
            assert moved["details"]["changed"] is True
            assert await ask(client, "prod.api", delete("api:latest"), once("d")) == accepted

    run(scenario)


def test_a_worker_that_was_behind_judges_by_the_last_word(nats_url: str) -> None:
    """Where nothing would be stored, a worker asks the log before it says so: another one may have been faster."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(worker(nats_url)) for _ in range(2)]
            await direct(first, "prod", "api", mapping("api", 1))
            await direct(second, "prod", "api", mapping("api", 2))
            # the first one believes that the tag still points at image 1
            assert (await direct(first, "prod", "api", mapping("api", 1))).changed is True
            await direct(second, "prod", "api", mapping("api", 7, "new"))
            dry = await direct(first, "prod", "api", mapping("api", 7, "new", dryRun=True))
            assert dry.changed is False
            await direct(second, "prod", "api", mapping("api", 8, "newer"))
            assert (await direct(first, "prod", "api", delete("api:newer"))).changed is True

    run(scenario)


def test_an_image_command_repeated_changes_nothing(nats_url: str) -> None:
    """An image, a signature and annotations: the same id again gets the first answer and stores nothing."""
    commands = [
        {"kind": "Image", "metadata": {"name": digest(1)}, "dockerImageReference": f"r.example/a/b@{digest(1)}"},
        {"kind": "ImageSignature", "metadata": {"name": f"{digest(1)}@s"}, "type": "atomic", "content": "c2ln"},
        {"kind": "ImageAnnotations", "metadata": {"name": digest(1), "annotations": {"a": "1"}}},
    ]

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            answers = []
            for _ in range(2):
                async with worker(nats_url), worker(nats_url):
                    for number, command in enumerate(commands):
                        asked = [ask(client, "_._", command, once(f"i{number}")) for _ in range(3)]
                        answers.append([answer["details"] for answer in await asyncio.gather(*asked)])
            assert all(details["changed"] and details == each[0] for each in answers for details in each), answers
            assert answers[:3] == answers[3:]
            assert len(await log_of(client, "tagstack.images.>")) == 3

    run(scenario)
