"""The work queue: kept while nobody works, in order per image stream, dead letters for what is refused."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client

from tagstack.adapters import nats_queue
from tagstack.adapters.nats_direct import DirectGet, StoredMessage
from tagstack.adapters.nats_streams import DEAD_STREAM, QUEUE_PARTITIONS, QUEUE_STREAM, declare, stream_info
from tests.examples_nats import (
    WAIT_S,
    ago,
    check_chain,
    client_of,
    digest,
    log_of,
    mapping,
    queue_worker,
    run,
    stored_in,
    until,
    worker_process,
)


async def enqueue(client: Client, target: str, body: Any, headers: dict[str, str] | None = None) -> int:
    """Publish a command to the queue; return the sequence the queue gave it."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    ack = await client.request(f"tagstack.queue.ci.{target}", payload, timeout=WAIT_S, headers=headers)
    return int(json.loads(ack.data)["seq"])


async def emptied(client: Client) -> bool:
    """Return whether the queue is empty."""
    return await stored_in(client, QUEUE_STREAM) == 0


async def dead_letters(client: Client) -> list[StoredMessage]:
    """Return every dead letter."""
    return await (await DirectGet(client, DEAD_STREAM).start()).read("tagstack.dead.>")


def test_a_command_queued_while_no_worker_runs_is_carried_out_by_the_next(nats_url: str) -> None:
    """What was kept becomes an event with the queue's sequence in its command id, and leaves the queue.

    Seen to fail when `QueueIntake._finish` acknowledges without `_carry_out`.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            sequence = await enqueue(client, "prod.api", mapping("api", 1))
            assert await stored_in(client, QUEUE_STREAM) == 1
            async with queue_worker(nats_url):
                await until(lambda: emptied(client))
            [tagged] = await log_of(client, "tagstack.events.*.*.tag.*")
            assert (tagged.body["image"], tagged.body["actor"]) == (digest(1), "ci")
            assert tagged.body["cause"] == f"queue:{sequence}"
            assert tagged.headers["Nats-Msg-Id"] == f"prod/api/queue:{sequence}/2"

    run(scenario)


@pytest.mark.parametrize("header", ["Tagstack-Command-Id", "Nats-Msg-Id"])
def test_a_queued_command_keeps_its_own_id(nats_url: str, header: str) -> None:
    """The sender's command id is the events' cause; the same command queued again takes effect once."""

    async def scenario() -> None:
        async with client_of(nats_url) as client, queue_worker(nats_url):
            await until(lambda: _declared(client))
            for number in (1, 2, 1):
                await enqueue(client, "prod.api", mapping("api", number), {header: f"id{number}"})
            await until(lambda: emptied(client))
            tagged = await log_of(client, "tagstack.events.*.*.tag.*")
            assert [event.body["cause"] for event in tagged] == ["id1", "id2"]

    run(scenario)


async def _declared(client: Client) -> bool:
    await declare(client)
    return True


async def _subscribed(client: Client) -> bool:
    """Return whether every partition of the queue has its consumer: the worker has started."""
    return (await stream_info(client, QUEUE_STREAM))["state"]["consumer_count"] == QUEUE_PARTITIONS


def test_order_is_kept_through_crashes_of_the_worker(nats_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Hundreds of commands on three image streams, two workers killed in the middle: every one once, in order.

    Seen to fail when `QueueIntake.register` lets a partition have 50 messages in flight.
    """
    count, names = 120, ("api", "web", "db")

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            for number in range(count):
                for name in names:
                    await enqueue(client, f"prod.{name}", mapping(name, number))
            for _ in range(2):
                before = await stored_in(client, QUEUE_STREAM)
                with worker_process(nats_url, tmp_path) as process:
                    await until(lambda before=before: _fewer(client, before - 20))  # type: ignore[misc]
                    process.send_signal(signal.SIGKILL)
            async with queue_worker(nats_url):
                await until(lambda: emptied(client), 60)
            for name in names:
                events = await log_of(client, f"tagstack.events.prod.{name}.tag.*")
                assert [event.body["image"] for event in events] == [digest(number) for number in range(count)]
                check_chain(events)
            assert await dead_letters(client) == []

    run(scenario)


async def _fewer(client: Client, count: int) -> bool:
    return await stored_in(client, QUEUE_STREAM) <= count


MANY_FAULTS = {"kind": "ImageStream", "metadata": {"name": "api"}, "spec": {"tags": [{"name": "é ü"}] * 3_000}}
REFUSED: dict[str, tuple[str, bytes, dict[str, str], str]] = {
    "no JSON": ("prod.api", b"{", {}, "BadRequest"),
    "not found": ("prod.api", b'{"kind":"HoldTag","metadata":{"name":"api:x"}}', {}, "NotFound"),
    "invalid": ("prod.api", json.dumps(mapping("api", 1, "a b")).encode(), {}, "Invalid"),
    "another spelling": ("prod.%61pi", json.dumps(mapping("api", 1)).encode(), {}, "BadRequest"),
    "a bad header": ("prod.api", json.dumps(mapping("api", 1)).encode(), {"Tagstack-Sent": "soon"}, "BadRequest"),
    "many faults": (
        "prod.api",
        json.dumps(
            {"kind": "ImageStream", "metadata": {"name": "api"}, "spec": {"tags": [{"name": "é ü"}] * 3000}}
        ).encode(),
        {},
        "Invalid",
    ),
}


def test_a_refused_command_becomes_a_dead_letter(nats_url: str) -> None:
    """It keeps payload, subject, headers and the reason; the queue goes on with the next command at once.

    Seen to fail when `QueueIntake._finish` acknowledges a refused command without `_bury`.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            sequences = []
            for target, body, headers, _ in REFUSED.values():
                sequences.append(await enqueue(client, target, body, {"Tagstack-Reason": "why é"} | headers))
            await enqueue(client, "prod.api", mapping("api", 7))
            async with queue_worker(nats_url):
                await until(lambda: emptied(client))
            letters = await dead_letters(client)
            found = {letter.headers["Tagstack-Command-Id"]: letter for letter in letters}
            assert set(found) == {f"queue:{sequence}" for sequence in sequences}
            for sequence, (target, body, headers, reason) in zip(sequences, REFUSED.values(), strict=True):
                letter = found[f"queue:{sequence}"]
                assert (letter.subject, letter.body) == (f"tagstack.dead.ci.{target}", body)
                assert letter.headers["Tagstack-Dead-Subject"] == f"tagstack.queue.ci.{target}"
                status = json.loads(letter.headers["Tagstack-Dead-Status"])
                assert (status["reason"], status["status"]) == (reason, "Failure")
                assert letter.headers["Tagstack-Dead-Reason"] and letter.headers["Tagstack-Reason"] == "why é"
                assert headers.items() <= letter.headers.items()
            assert [event.body["image"] for event in await log_of(client, "tagstack.events.*.*.tag.*")] == [digest(7)]

    run(scenario)


def test_a_body_as_large_as_the_server_takes_does_not_block_the_queue(nats_url: str) -> None:
    """Where payload and reason don't fit into one message, the reason is kept and says how much is missing."""

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            body = b"[" + b" " * (client.max_payload - 200)
            await enqueue(client, "prod.api", body, {"Tagstack-Command-Id": "huge"})
            await enqueue(client, "prod.api", mapping("api", 7))
            async with queue_worker(nats_url):
                await until(lambda: emptied(client))
            [letter] = await dead_letters(client)
            assert letter.headers["Tagstack-Command-Id"] == "huge"
            assert letter.headers["Tagstack-Dead-Missing-Bytes"] == str(len(body))
            assert letter.body == b""
            assert len(await log_of(client, "tagstack.events.*.*.tag.*")) == 1

    run(scenario)


def test_a_message_that_nobody_finishes_is_set_aside(nats_url: str, monkeypatch: Any) -> None:
    """Delivered too often without an end, as when each delivery kills its worker, it becomes a dead letter.

    Seen to fail when `QueueIntake._carry_out` does not count deliveries.
    """
    monkeypatch.setattr(nats_queue, "DELIVERIES_MAX", 2)

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            async with queue_worker(nats_url):
                await enqueue(client, "prod.first", mapping("first", 1))
                await until(lambda: emptied(client))
                await until(lambda: _subscribed(client))
            await enqueue(client, "prod.api", mapping("api", 1), {"Tagstack-Command-Id": "poison"})
            for _ in range(2):
                await take_and_give_back(client)
            async with queue_worker(nats_url):
                await until(lambda: emptied(client))
            [letter] = await dead_letters(client)
            assert letter.headers["Tagstack-Command-Id"] == "poison"
            assert "delivered 3 times" in letter.headers["Tagstack-Dead-Reason"]
            assert json.loads(letter.body) == mapping("api", 1)
            assert await log_of(client, "tagstack.events.prod.api.>") == []

    run(scenario)


def test_a_command_on_what_can_not_be_read_is_set_aside_at_once(nats_url: str) -> None:
    """Trying again would not help, and would keep the others of its partition waiting; the letter names the position.

    Seen to fail when UnreadableEvent is no Refused.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            ack = await client.jetstream().publish("tagstack.events.prod.api.stream", b"no event")
            await enqueue(client, "prod.api", mapping("api", 1))
            async with queue_worker(nats_url):
                await until(lambda: emptied(client))
            [letter] = await dead_letters(client)
            assert f"the event at position {ack.seq} can't be read" in letter.headers["Tagstack-Dead-Reason"]

    run(scenario)


def test_a_worker_is_up_when_it_takes_from_every_partition(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop finds every subscriber: one that began later would turn in circles, its connection being closed.

    Seen to fail when FastStream started them beside the application.
    """
    taking: set[str] = set()

    async def consume(self: PullStreamSubscriber, cb: Any) -> None:
        taking.add(self.subject.broker_address)
        try:
            await asyncio.Event().wait()
        finally:
            taking.remove(self.subject.broker_address)

    monkeypatch.setattr(PullStreamSubscriber, "_consume_pull", consume)

    async def scenario() -> None:
        async with queue_worker(nats_url):
            await asyncio.sleep(0)  # the last one's task begins
            assert len(taking) == QUEUE_PARTITIONS
        assert not taking

    run(scenario)


async def take_and_give_back(client: Client) -> None:
    """Take the queue's one message, from whichever partition, and end without an ack, as a crash would."""
    taken = []
    inbox = await client.subscribe("take.*")
    for partition in range(nats_queue.QUEUE_PARTITIONS):
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{QUEUE_STREAM}.tagstack-commands-{partition}"
        await client.publish(subject, b'{"batch":1,"expires":10000000000}', reply=f"take.{partition}")
    while not taken:
        msg = await inbox.next_msg(timeout=WAIT_S)
        taken += [msg] if msg.reply else []
    await inbox.unsubscribe()
    await taken[0].nak()


def test_an_older_time_of_sending_is_kept(nats_url: str) -> None:
    """The sender's `Tagstack-Sent` wins over the time at which the queue took the command."""

    async def scenario() -> None:
        async with client_of(nats_url) as client, queue_worker(nats_url):
            await until(lambda: _declared(client))
            headers = {"Tagstack-Command-Id": "c", "Tagstack-Sent": ago(days=2)}
            await enqueue(client, "prod.api", mapping("api", 1), headers)
            await until(lambda: emptied(client))
            await asyncio.gather(*(enqueue(client, "prod.api", mapping("api", n), headers) for n in range(5)))
            await until(lambda: emptied(client))
            assert len(await log_of(client, "tagstack.events.*.*.tag.*")) == 1

    run(scenario)


def test_the_queue_goes_on_after_the_server_was_killed(nats_server: Any) -> None:
    """A worker that lost its server carries out by itself what is queued when the server is back.

    Seen to fail when `nats_queue.FETCH_TIMEOUT_S` is ten minutes: a request that the server forgot is waited for.
    """

    async def scenario() -> None:
        url = nats_server.url
        async with client_of(url) as client, queue_worker(url):
            await until(lambda: _declared(client))
            await enqueue(client, "prod.api", mapping("api", 1))
            await until(lambda: emptied(client))
            await until(lambda: _subscribed(client))
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.start)
            async with client_of(url) as fresh:
                await enqueue(fresh, "prod.api", mapping("api", 2))
                await until(lambda: emptied(fresh), 30)
                events = await log_of(fresh, "tagstack.events.*.*.tag.*")
                assert [event.body["image"] for event in events] == [digest(1), digest(2)]

    run(scenario)
