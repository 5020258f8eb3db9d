"""Chaos: kills and stops everything at random under load, then proves from the clients' own record that nothing broke.

    python -m tests.faults.chaos --rounds 20 --seconds 10

Proved after each round: every acknowledged command is in the log exactly once, with the answer its
sender got; of a refused one there is no event (unless it was sent several times: each delivery of a
command without effect is judged anew); every chain is unbroken; a durable consumer on
TAGSTACK_TAGS saw the last state of each tag.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters.nats_server import NatsServer, die_with_parent
from tagstack.adapters.nats_streams import declare
from tests.examples_nats import WORKER, Json, Record, ago, check_chain, client_of, digest, log_of, mapping, send, until

CLIENTS = 6
IMAGE_STREAMS = ("api", "web")
TAGS = ("latest", "stable")
ANSWER_TIMEOUT_S = 2.0
PAUSE_S = (0.2, 1.0)  # between two faults
STOPPED_S = (0.2, 3.0)  # how long a stopped process sleeps
SETTLE_TIMEOUT_S = 60.0
UNDECIDED = (429, 503)


class Command(msgspec.Struct):
    """One command of a client, and its last word on it."""

    command_id: str
    name: str
    attempts: int = 0
    answer: Json | None = None


class Figures(msgspec.Struct):
    """What a run amounts to."""

    rounds: int = 0
    acknowledged: int = 0
    refused: int = 0
    repeated: int = 0
    late: int = 0  # repeated, answered without an effect, and judged anew with one afterwards
    kills: int = 0
    stops: int = 0
    events: int = 0


class Workers:
    """Two command workers as processes, started again when they die."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self.processes: list[subprocess.Popen[bytes] | None] = [None, None]

    def start(self) -> None:
        """Start those that do not run."""
        for index, process in enumerate(self.processes):
            if process is None or process.poll() is not None:
                home = self._home / f"worker{index}"
                home.mkdir(parents=True, exist_ok=True)
                environment = os.environ | {"TAGSTACK_NATS": self._url, "TAGSTACK_HOME": str(home)}
                with (home / "log").open("ab") as log:
                    self.processes[index] = subprocess.Popen(
                        [sys.executable, "-c", WORKER],
                        env=environment | {"TAGSTACK_HTTP_PORT": "0"},
                        stdout=log,
                        stderr=log,
                        preexec_fn=die_with_parent,
                    )

    def kill(self) -> None:
        """Kill both."""
        for process in self.processes:
            if process is not None:
                process.kill()
                process.wait()


class Sender:
    """Sends random commands, each until it is decided, and keeps record."""

    def __init__(self, name: str, client: Client, dice: random.Random) -> None:
        self._name = name
        self._client = client
        self._dice = dice
        self.record: list[Command] = []
        self.stopped = False

    async def work(self) -> None:
        """Send commands until stopped; the last one is brought to its end too."""
        while not self.stopped:
            command = Command(f"{self._name}-{len(self.record)}", self._dice.choice(IMAGE_STREAMS))
            self.record.append(command)
            await self._decide(command, self._body(command), ago())

    async def _decide(self, command: Command, body: bytes, sent: str) -> None:
        headers = {"Tagstack-Command-Id": command.command_id, "Tagstack-Sent": sent}
        while command.answer is None:
            command.attempts += 1
            with suppress(NatsError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answer = await send(self._client, f"{self._name}.prod.{command.name}", body, headers)
                if answer.get("code") not in UNDECIDED:
                    command.answer = answer
                    return
            await asyncio.sleep(0.05)

    def _body(self, command: Command) -> bytes:
        tag = self._dice.choice(TAGS)
        name = {"metadata": {"name": f"{command.name}:{tag}"}}
        image = self._dice.randrange(2**200)
        push = mapping(command.name, image, tag)
        kinds: list[Json] = [
            *[push] * 8,
            {"kind": "RollbackTag", **name, "hold": False},
            {"kind": "HoldTag", **name},
            {"kind": "ReleaseTag", **name, "advance": True},
            {"kind": "ReleaseTag", **name},
            {"kind": "DeleteImageStreamTag", **name},
            push | {"expectedImage": digest(1)},  # no tag points there: refused
        ]
        if self._dice.random() < 0.01:
            kinds = [{"kind": "DeleteImageStream", "metadata": {"name": command.name}, "force": True}]
        return msgspec.json.encode(self._dice.choice(kinds))


class Chaos:
    """One home with everything in it, and the people who break it."""

    def __init__(self, home: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self._home = home
        self.figures = Figures()
        self.record: list[Command] = []
        self.seen: dict[str, str] = {}  # what the durable consumer saw last of each tag

    async def run(self, rounds: int, seconds: float) -> Figures:
        """Run some rounds on one log. Raises AssertionError where anything broke."""
        server = NatsServer(self._home / "nats").start()
        workers = Workers(server.url, self._home)
        try:
            async with client_of(server.url) as client:
                await declare(client)
            workers.start()
            for number in range(rounds):
                await self._round(number, seconds, server, workers)
        finally:
            workers.kill()
            server.kill()
        return self.figures

    async def _round(self, number: int, seconds: float, server: NatsServer, workers: Workers) -> None:
        async with client_of(server.url) as client:
            senders = [Sender(f"r{number}c{n}", client, self._dice) for n in range(CLIENTS)]
            tasks = [asyncio.create_task(sender.work()) for sender in senders]
            await self._break(seconds, server, workers)
            for sender in senders:
                sender.stopped = True
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await asyncio.gather(*tasks)
            self.record += [command for sender in senders for command in sender.record]
            await self._prove(client)
        self.figures.rounds += 1

    async def _break(self, seconds: float, server: NatsServer, workers: Workers) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._dice.uniform(*PAUSE_S))
            victims = [server.process, *workers.processes]
            for victim in victims if self._dice.random() < 0.1 else [self._dice.choice(victims)]:
                assert victim is not None
                if self._dice.random() < 0.6:
                    victim.kill()
                    await asyncio.to_thread(victim.wait)
                    self.figures.kills += 1
                else:
                    victim.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(self._dice.uniform(*STOPPED_S))
                    victim.send_signal(signal.SIGCONT)
                    self.figures.stops += 1
            if not server.running():
                await asyncio.to_thread(server.start)
            workers.start()

    async def _prove(self, client: Client) -> None:
        stored = await log_of(client)
        self.figures.events = len(stored)
        by_cause: dict[str, list[Record]] = {}
        for event in stored:
            by_cause.setdefault(event.body["cause"], []).append(event)
        for name in IMAGE_STREAMS:
            check_chain([event for event in stored if event.body["imageStream"] == name])
        self.figures.acknowledged = self.figures.refused = self.figures.repeated = self.figures.late = 0
        for command in self.record:
            self._prove_one(command, by_cause.pop(command.command_id, []))
        assert by_cause == {}, f"events of commands that nobody sent: {by_cause}"
        await self._prove_tags(client, stored)

    def _prove_one(self, command: Command, events: list[Record]) -> None:
        answer = command.answer
        assert answer is not None
        self.figures.repeated += command.attempts > 1
        assert [event.body["last"] for event in events].count(True) == bool(events), f"{command} is not once: {events}"
        assert len({event.body["number"] for event in events}) == len(events), f"{command} is not once: {events}"
        details = answer["details"]
        self.figures.refused += answer["status"] == "Failure"
        self.figures.acknowledged += answer["status"] == "Success"
        if answer["status"] == "Success" and details["changed"]:
            assert events, f"{command} was acknowledged and is not in the log"
            assert events[-1].position == details["position"], f"{command} {events}"
        elif command.attempts > 1:
            # an earlier delivery, in a worker that was stopped meanwhile, is judged anew when it wakes
            self.figures.late += bool(events)
        else:
            assert events == [], f"{command} was answered {answer} and has events {events}"

    async def _prove_tags(self, client: Client, stored: list[Record]) -> None:
        """Read on with a durable consumer until it has seen the last event of every tag."""
        wanted = {event.subject: event.headers["ce-id"] for event in stored if "tag" in event.body}
        wanted = {subject.replace("events", "tags", 1).replace(".tag.", "."): seen for subject, seen in wanted.items()}
        consumer = await client.jetstream().pull_subscribe("tagstack.tags.>", "chaos", stream="TAGSTACK_TAGS")

        async def complete() -> bool:
            with suppress(nats.errors.TimeoutError):
                for msg in await consumer.fetch(1_000, timeout=0.5):
                    self.seen[msg.subject] = (msg.headers or {})["ce-id"]
                    await msg.ack()
            return self.seen == wanted

        try:
            await until(complete, SETTLE_TIMEOUT_S)
        except TimeoutError:
            raise AssertionError(f"the consumer saw {self.seen}, the log ends with {wanted}") from None


def main() -> None:
    """Run from the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options: Any = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tagstack-chaos-") as home:
        print(asyncio.run(Chaos(Path(home), options.seed).run(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
