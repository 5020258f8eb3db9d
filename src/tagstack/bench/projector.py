"""The projector of a stage, as it is asked and driven over its control subject."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from tagstack.adapters.nats_streams import log_position
from tagstack.apps.settings import Settings
from tagstack.bench.stage import Stage
from tagstack.domain.errors import Unavailable

CONTROL = "tagstack.control.projector"
CONTROL_TIMEOUT_S = 30.0
POLL_S = 0.02
BUILD_POLL_S = 0.1
BUILD_TIMEOUT_S = 3_600.0
UNSORTED_MAX = Settings().unsorted_events_max


class Built(msgspec.Struct, frozen=True):
    """What building the read models took."""

    events: int
    seconds: float
    memory_mb: float

    @property
    def rate(self) -> float:
        """Return events per second."""
        return self.events / self.seconds


class BenchProjector:
    """A worker process that folds the stage's log."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def start(self) -> None:
        """Start it and wait until it has caught up."""
        await self._stage.start_worker("projector")
        await self.caught_up()

    async def build(self) -> Built:
        """Let a new process build the read models from the log's beginning; readers have a snapshot already."""
        self._stage.stop_worker("projector")
        self._stage.forget_read_models()
        events = await log_position(self._stage.nc)
        await self._stage.start_worker("projector", "healthz")
        began, first = time.perf_counter(), (await self.ask())["position"]
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            while (state := await self.ask())["snapshot"] < events:
                if state["trouble"]:
                    raise Unavailable(f"the projector: {state['trouble']}")
                await asyncio.sleep(BUILD_POLL_S)
        seconds = time.perf_counter() - began
        return Built(events - first, seconds, self._stage.memory_mb("projector"))

    async def caught_up(self) -> None:
        """Wait until readers see the whole log."""
        position = await log_position(self._stage.nc)
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            while (await self.ask())["snapshot"] < position:  # noqa: ASYNC110 asked for, since nobody tells
                await asyncio.sleep(POLL_S)

    async def until_sorted(self) -> float:
        """Wait until the file is sorted, where it is large enough for that, and return how many seconds that took.

        Raises: Unavailable where sorting was given up, as without room on the disk.
        """
        began = time.perf_counter()
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            while (state := await self.ask())["unsorted"] >= UNSORTED_MAX or state["compacting"]:
                if state["compactionWaits"]:
                    raise Unavailable(f"the tables stay unsorted: {state['compactionWaits']}")
                await asyncio.sleep(BUILD_POLL_S)
        return time.perf_counter() - began

    async def ask(self) -> dict[str, Any]:
        """Return its state."""
        answer = await self._stage.nc.request(CONTROL, b"{}", timeout=CONTROL_TIMEOUT_S)
        state: dict[str, Any] = msgspec.json.decode(answer.data)
        return state
