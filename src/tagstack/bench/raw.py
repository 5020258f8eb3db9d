"""The raw baselines: the same bytes appended with the same guard, by nothing but nats-py and an ack inbox."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine
from typing import Any

import msgspec

from tagstack.adapters.nats_append import EXPECTED, EXPECTED_SUBJECT, MESSAGE_ID, Appender, Message
from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.bench.load import Load
from tagstack.bench.stage import RAW, Stage


class Shape(msgspec.Struct, frozen=True):
    """An event as it is stored: what the baselines send has its bytes."""

    body: bytes
    headers: dict[str, str]

    def message(self, subject: str, guard: dict[str, str], message_id: str = "") -> Message:
        """Return the event once more, under another subject, guard and message id."""
        kept = {key: value for key, value in self.headers.items() if not key.startswith("Nats-")}
        return Message(subject, self.body, kept | guard | ({MESSAGE_ID: message_id} if message_id else {}))


async def shape_of(stage: Stage, subject: str) -> Shape:
    """Return the last event stored under a subject."""
    stored = await (await DirectGet(stage.nc).start()).last(subject)
    assert stored is not None, f"an event under {subject} was stored before"
    return Shape(stored.body, dict(stored.headers))


class RawLog:
    """Appends to a log like ours, one image stream's events after the other."""

    def __init__(self, stage: Stage, log: str = RAW) -> None:
        self._log = log
        self._appender = Appender(PlainTransport(stage.nc))
        self._js = stage.nc.jetstream()

    async def start(self) -> RawLog:
        """Subscribe to the acks."""
        await self._appender.start()
        return self

    async def crowd(self, shape: Shape, count: int, image_streams: int, in_flight: int) -> float:
        """Return appends per second, each guarded by its image stream's last position."""
        run = uuid.uuid4().hex[:8]

        async def lane(first: int) -> None:
            last = dict.fromkeys(range(first, image_streams, in_flight), 0)
            for number in range(count // in_flight):
                name = first + number % len(last) * in_flight
                place = f"{self._log}.events.{run}.s{name}"
                guard = {EXPECTED: str(last[name]), EXPECTED_SUBJECT: f"{place}.>"}
                identity = f"{shape.headers[MESSAGE_ID][:-12]}{first:06}{number:06}"
                last[name] = await self._appender.append(shape.message(f"{place}.tag.latest", guard, run + identity))

        return await _rate(count // in_flight * in_flight, [lane(first) for first in range(in_flight)])

    async def batches(self, shape: Shape, count: int, size: int, in_flight: int) -> float:
        """Return atomic batches of `size` events per second."""
        run = uuid.uuid4().hex[:8]

        async def lane(first: int) -> None:
            place, last = f"{self._log}.events.{run}.s{first}", 0
            for _ in range(count // in_flight):
                guard = {EXPECTED: str(last), EXPECTED_SUBJECT: f"{place}.>"}
                messages = [
                    shape.message(f"{place}.tag.t{number}", {} if number else guard, uuid.uuid4().hex)
                    for number in range(size)
                ]
                last = await self._appender.append_batch(messages)

        return await _rate(count // in_flight * in_flight, [lane(first) for first in range(in_flight)])

    async def pairs(self, image: Shape, tag: Shape, count: int, in_flight: int) -> float:
        """Return pairs of appends per second: an image that is new, then the event of a tag."""
        run = uuid.uuid4().hex[:8]

        async def lane(first: int) -> None:
            place, last = f"{self._log}.events.{run}.s{first}", 0
            for number in range(count // in_flight):
                subject = f"{self._log}.images.sha256.{run}{first:06}{number:06}.recorded"
                await self._appender.append(image.message(subject, {EXPECTED: "0"}))
                guard = {EXPECTED: str(last), EXPECTED_SUBJECT: f"{place}.>"}
                last = await self._appender.append(tag.message(f"{place}.tag.latest", guard, uuid.uuid4().hex))

        return await _rate(count // in_flight * in_flight, [lane(first) for first in range(in_flight)])

    async def steady(self, shape: Shape, count: int, per_s: float) -> Load:
        """Return the latencies of nats-py's own `js.publish` at a steady rate, from call to ack."""
        run, latencies = uuid.uuid4().hex[:8], list[float]()

        async def publish(number: int) -> None:
            began = time.perf_counter()
            headers = shape.message("", {}, f"{run}{number}").headers
            await self._js.publish(f"{self._log}.events.{run}.s{number}.tag.latest", shape.body, headers=headers)
            latencies.append((time.perf_counter() - began) * 1e3)

        tasks, began = [], time.perf_counter()
        for number in range(count):
            ahead = began + number / per_s - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.append(asyncio.create_task(publish(number)))
        await asyncio.gather(*tasks)
        return Load(time.perf_counter() - began, latencies)


async def _rate(count: int, lanes: list[Coroutine[Any, Any, None]]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*lanes)
    return count / (time.perf_counter() - began)
