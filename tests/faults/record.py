"""Clients that keep their own record of what they were told, and the proof that it agrees with the log."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.examples_nats import Json, Record, ago, answer_to, check_chain, digest, log_of, mapping, send, until

IMAGE_STREAMS = ("api", "web")
TAGS = ("latest", "stable")
ANSWER_TIMEOUT_S = 2.0
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
    kills_of_all: int = 0  # every process in one moment
    stops: int = 0
    ended: int = 0  # processes that ended by themselves, and were started again
    events: int = 0
    sql_right: int = 0
    sql_refused: int = 0  # in words
    snapshots_opened: int = 0
    rows_compared: int = 0

    def add(self, other: Figures) -> None:
        """Add those of another run."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Sender:
    """Sends random commands, each until it is decided, and keeps record."""

    def __init__(self, name: str, client: Client, dice: random.Random) -> None:
        self._name = name
        self._client = client
        self._dice = dice
        self.record: list[Command] = []
        self.stopped = False

    async def work(self, pause_s: float = 0.0) -> None:
        """Send commands until stopped; the last one is brought to its end too."""
        while not self.stopped:
            command = Command(f"{self._name}-{len(self.record)}", self._dice.choice(IMAGE_STREAMS))
            self.record.append(command)
            await self._decide(command, self._body(command), ago())
            await asyncio.sleep(pause_s)

    @property
    def answered(self) -> int:
        """Return how many commands have their answer."""
        return sum(command.answer is not None for command in self.record)

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


class Proof:
    """Compares the record with the log. `seen` is what a durable consumer saw last of each tag."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.record: list[Command] = []
        self.seen: dict[str, str] = {}

    async def prove(self, client: Client) -> None:
        """Raise AssertionError where record, log and the consumer's last words differ."""
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
            judged = details.get("position", 0)
            assert all(event.position > judged for event in events), f"{command} was judged anew after {events}"
            self.figures.late += bool(events)
        else:
            assert events == [], f"{command} was answered {answer} and has events {events}"

    async def _prove_tags(self, client: Client, stored: list[Record]) -> None:
        """Read on with a durable consumer until it has seen the last event of every tag."""
        wanted = {event.subject: event.headers["ce-id"] for event in stored if "tag" in event.body}
        wanted = {subject.replace("events", "tags", 1).replace(".tag.", "."): seen for subject, seen in wanted.items()}
        js = client.jetstream()
        consumer = await answer_to(lambda: js.pull_subscribe("tagstack.tags.>", "chaos", stream="TAGSTACK_TAGS"))

        async def complete() -> bool:
            with suppress(NatsError, TimeoutError):  # nothing new, or no answer just now: `fetch` raises either
                for msg in await consumer.fetch(1_000, timeout=0.5):
                    self.seen[msg.subject] = (msg.headers or {})["ce-id"]
                    await msg.ack()
            return self.seen == wanted

        try:
            await until(complete, SETTLE_TIMEOUT_S)
        except TimeoutError:
            raise AssertionError(f"the consumer saw {self.seen}, the log ends with {wanted}") from None
        finally:
            await consumer.unsubscribe()


async def carry_on(senders: list[Sender], count: int) -> None:
    """Wait until so many more commands are decided than now."""
    before = sum(sender.answered for sender in senders)

    async def more() -> bool:
        return sum(sender.answered for sender in senders) >= before + count

    await until(more, SETTLE_TIMEOUT_S)


async def settle(senders: list[Sender], tasks: list[asyncio.Task[None]]) -> list[Command]:
    """Stop the senders, see each of their commands decided, and return the record."""
    for sender in senders:
        sender.stopped = True
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        await asyncio.gather(*tasks)
    return [command for sender in senders for command in sender.record]
