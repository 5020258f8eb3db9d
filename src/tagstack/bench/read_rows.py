"""The read path: how soon SQL sees a push, and how fast the projector folds what the log holds."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from tagstack.adapters.nats_reader import LogSource
from tagstack.adapters.nats_streams import log_position
from tagstack.bench.figures import Row, Wanted, side_by_side
from tagstack.bench.load import Load, Sender, Sent
from tagstack.bench.requests import IMAGE_STREAMS, Pushes
from tagstack.bench.sizes import Sizes
from tagstack.bench.stage import Stage
from tagstack.domain.errors import Unavailable

CONTROL = "tagstack.control.projector"
CONTROL_TIMEOUT_S = 30.0
POLL_S = 0.02
PER_S = 1_000.0
READ_WAIT_S = 5.0
CAUGHT_UP_TIMEOUT_S = 600.0


class _Reply(msgspec.Struct):
    details: dict[str, Any]


class ReadPath:
    """Measures the rows of the read path, on a stage whose log holds events already."""

    def __init__(self, stage: Stage, sizes: Sizes) -> None:
        self._stage = stage
        self._sizes = sizes
        self._wanted = 0  # the last position that a snapshot has to show; 0 while it is not known

    async def freshness(self) -> list[Row]:
        """From a command's reply to a snapshot that shows it, at a steady rate."""
        await self._stage.start_worker("projector")
        await self._caught_up(await log_position(self._stage.nc))
        replies: list[tuple[float, int]] = []
        decoder = msgspec.json.Decoder(_Reply)

        def answered(_: Sent, body: bytes) -> None:
            replies.append((time.perf_counter(), int(decoder.decode(body).details["position"])))

        sender = await Sender(self._stage.transport, answered).start()
        pushes = Pushes([f"fresh{number}" for number in range(IMAGE_STREAMS)])
        found = []
        for _ in range(self._sizes.times):
            replies.clear()
            self._wanted = 0
            watching = asyncio.create_task(self._watch())
            await sender.steady(pushes.take(int(PER_S * self._sizes.steady_s)), PER_S)
            self._wanted = replies[-1][1]
            found.append(_late(replies, await watching).percentile(0.99))
        return [Wanted("SQL freshness after the reply at 1000/s, p99", "ms", 1_000.0, "lower").alone(found)]

    async def catch_up(self) -> list[Row]:
        """All stored events folded into all read models, beside reading them with the same pull."""
        events = await log_position(self._stage.nc)

        async def fold() -> float:
            began = time.perf_counter()
            await self._ask(rebuild=True)
            while (state := await self._ask())["rebuilding"]:  # noqa: ASYNC110 asked for, since nobody tells
                await asyncio.sleep(POLL_S)
            if state["trouble"]:
                raise Unavailable(f"the projector: {state['trouble']}")
            return events / (time.perf_counter() - began)

        async def drain() -> float:
            return await self._drained(events)

        pairs = await side_by_side(fold, drain, self._sizes.folds)
        rate = Wanted(f"projector catch-up over {events} events", "1/s", 60_000.0).alone([mine for mine, _ in pairs])
        share = Wanted("projector catch-up beside draining the log", "1/s", 0.7).row(pairs)
        memory = Wanted("projector memory, at most", "MB", 1_024.0, "lower")
        return [share, rate, memory.alone([self._stage.memory_mb("projector")])]

    async def _drained(self, events: int) -> float:
        source = LogSource(self._stage.nc)
        await source.identity(0)
        began = time.perf_counter()
        reader = await source.read(0)
        try:
            while True:
                messages = await reader.take(READ_WAIT_S)
                if not messages:
                    raise Unavailable(f"the log gave nothing within {READ_WAIT_S} s")
                if messages[-1].position >= events:
                    return events / (time.perf_counter() - began)
        finally:
            await reader.stop()

    async def _watch(self) -> list[tuple[float, int]]:
        """Return when which position was in the snapshot, up to the one that is wanted."""
        seen: list[tuple[float, int]] = []
        async with asyncio.timeout(CAUGHT_UP_TIMEOUT_S):
            while not self._wanted or seen[-1][1] < self._wanted:
                seen.append((time.perf_counter(), int((await self._ask())["snapshot"])))
                await asyncio.sleep(POLL_S)
        return seen

    async def _caught_up(self, position: int) -> None:
        async with asyncio.timeout(CAUGHT_UP_TIMEOUT_S):
            while (await self._ask())["snapshot"] < position:  # noqa: ASYNC110 asked for, since nobody tells
                await asyncio.sleep(POLL_S)

    async def _ask(self, **request: bool) -> dict[str, Any]:
        body = msgspec.json.encode(request)
        answer = await self._stage.nc.request(CONTROL, body, timeout=CONTROL_TIMEOUT_S)
        state: dict[str, Any] = msgspec.json.decode(answer.data)
        return state


def _late(replies: list[tuple[float, int]], seen: list[tuple[float, int]]) -> Load:
    """Return how long after each reply, in ms, its position was seen; both lists rise."""
    late, at = list[float](), 0
    for moment, position in sorted(replies, key=lambda reply: reply[1]):
        while seen[at][1] < position:
            at += 1
        late.append(max(0.0, (seen[at][0] - moment) * 1e3))
    return Load(1.0, late)
