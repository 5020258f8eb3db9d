"""What if someone sends nonsense without end? The worker answers each, stays healthy, and stores nothing."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tests.examples_nats import Json, ask, client_of, log_of, mapping, run, until, worker_process

MESSAGES = int(os.environ.get("MALFORMED_MESSAGES", "3000"))
SETTLE_TIMEOUT_S = 90.0
GROWTH_KB_MAX = 64 * 1024  # of the worker, however many messages
LOG_BYTES_MAX = 100_000  # of what the worker writes, however many messages
IN_FLIGHT = 200


def spoil(dice: random.Random, body: bytes) -> bytes:
    """Return a body that is broken somewhere."""
    match dice.randrange(6):
        case 0:
            return dice.randbytes(dice.randrange(300))
        case 1:
            return body[: dice.randrange(len(body))]
        case 2:
            at = dice.randrange(len(body))
            return body[:at] + dice.randbytes(3) + body[at + 3 :]
        case 3:
            return b"[" * dice.randrange(1, 20_000)
        case 4:
            return body.replace(b"ImageStreamMapping", dice.choice([b"HoldTag", b"Pod", b"ImageStream"]))
    return json.dumps(json.loads(body) | {f"field{dice.randrange(10**9)}": 1}).encode()


def resident_kb(pid: int) -> int:
    """Return the memory that a process has in use."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


async def bombard(client: Client, count: int, seed: int) -> list[Json]:
    """Send broken commands and return the answers."""
    dice, answers = random.Random(seed), list[Json]()
    inbox = client.new_inbox()
    body = json.dumps(mapping("api", 1)).encode()

    async def answered(msg: Msg) -> None:
        answers.append(json.loads(msg.data))

    subscription = await client.subscribe(inbox, cb=answered)
    for number in range(count):
        subject = dice.choice(["me.prod.api", "me.PROD.api", "me.prod.a%62", "me.prod.%FF", "me._._"])
        headers = dice.choice([None, {"Tagstack-Sent": "soon"}, {"Tagstack-Command-Id": "x" * 600}])
        await client.publish(f"tagstack.commands.{subject}", spoil(dice, body), reply=inbox, headers=headers)
        await until(lambda number=number: within(answers, number - IN_FLIGHT), SETTLE_TIMEOUT_S)  # type: ignore[misc]
    await until(lambda: within(answers, count), SETTLE_TIMEOUT_S)
    await subscription.unsubscribe()
    return answers


async def within(answers: list[Json], count: int) -> bool:
    """Return whether so many answers are there."""
    return len(answers) >= count


def test_nonsense_is_answered_and_leaves_no_trace(nats_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Thousands of malformed commands: each gets a Status, memory and log stay as they were, commands go on.

    Seen to fail when `CommandHandler.handle` goes on counting what it refused as in flight.
    """
    monkeypatch.setenv("TAGSTACK_IN_FLIGHT_MAX", str(2 * IN_FLIGHT))  # what is not given back is missed soon

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            with worker_process(nats_url, tmp_path) as process:

                async def ready() -> bool:
                    with suppress(NatsError):
                        return (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
                    return False

                await until(ready)
                await bombard(client, MESSAGES // 5, seed=1)  # until every cache is filled
                before, stored = resident_kb(process.pid), await log_of(client, ">")
                answers = await bombard(client, MESSAGES, seed=2)
                refused = [answer for answer in answers if answer["status"] == "Failure"]
                assert len(refused) > 0.9 * MESSAGES
                assert {answer["code"] for answer in refused} <= {400, 404, 409, 413, 422}
                assert all(answer["reason"] and answer["message"] for answer in refused)
                assert [event.position for event in await log_of(client, ">")] == [event.position for event in stored]
                after, logged = resident_kb(process.pid), (tmp_path / "worker.log").stat().st_size
                print(f"{len(answers)} messages: the worker from {before} to {after} kB, its log {logged} bytes")
                assert after - before < GROWTH_KB_MAX
                assert (await ask(client, "prod.api", mapping("api", 2)))["details"]["changed"] is True
                assert logged < LOG_BYTES_MAX

    run(scenario)
