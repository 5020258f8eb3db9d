"""Files that are built beside the live one and take its place: from the log's beginning, or from a sorted copy.

The first is a rebuild, the second a compaction. There is one at a time, and a compaction gives way to a rebuild.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from tagstack.application.compaction import Compaction
from tagstack.application.read_models import (
    Damaged,
    Files,
    GivenUp,
    Models,
    OtherLog,
    ProjectorOptions,
    ReadModels,
    Snapshots,
    Source,
)
from tagstack.domain.errors import TagstackError, Unavailable

LOOK_INTERVAL_S = 0.25
ANEW_WAIT_S = 10.0  # before building begins again: the build that was given up may itself have filled the disk
LIVE_SHARE = 3  # the part of the memory that is left to the live file, a third; half is for the one that is built
NICENESS = 10  # following the log goes first

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Builder(ABC, Generic[Models]):
    """The part of a projector that builds files, while the other part follows the log with the live one."""

    def __init__(self, files: Files[Models], snapshots: Snapshots[Models], options: ProjectorOptions) -> None:
        self._files, self._snapshots, self._options = files, snapshots, options
        self._source: Source
        self._live: Models | None = None
        self._building: Models | None = None
        self._one_at_a_time = asyncio.Lock()
        self._rebuilding: asyncio.Task[None] | None = None
        self._compaction = Compaction(options.unsorted_events_max, options.compaction_retry_interval_s)
        self._aside = ThreadPoolExecutor(1, "aside", _give_way)
        self._stopping = False
        self.compacting = False
        self.log_position = 0

    def rebuild(self) -> None:
        """Begin to build new read models from the log's beginning, unless that is being done."""
        if not self.rebuilding:
            self._rebuilding = self._begin(self._rebuild())

    @property
    def rebuilding(self) -> bool:
        """Return whether a file is being built from the log's beginning."""
        return self._rebuilding is not None and not self._rebuilding.done()

    def builds(self) -> dict[str, Any]:
        """Return what is being built and how far it is, as the control subject answers it."""
        begun = _progress(self._building, self.log_position)
        waiting = _progress(None, self.log_position)
        return {
            "rebuilding": (waiting if self.compacting else begun) if self.rebuilding else None,
            "compacting": begun if self.compacting else None,
            "compactionWaits": self._compaction.waits,
        }

    async def _rebuild(self) -> None:
        """Build a file from the log's beginning beside the live one, and put it in its place."""
        async with self._one_at_a_time:
            while not self._stopping:
                try:
                    await self._build(lambda: self._in_thread(self._files.build), lambda: self._stopping)
                    return
                except (OtherLog, Damaged) as error:
                    _log.error("%s; building starts again", error)
                except GivenUp as error:
                    await self._wait_before_anew(error)
                except Unavailable as error:
                    await self._wait_out(error)

    async def _keep_sorted(self) -> None:
        """Begin a compaction whenever one is due, once the live file has caught up and there is a copy of it."""
        while not self._stopping:
            async with self._one_at_a_time:
                live = self._live
                if live is not None and not self._gives_way() and self._near(live) and self._compaction.due(live):
                    whole = await self._in_thread(self._snapshots.whole, live)
                    if whole is not None:
                        await self._compact(whole, live.checkpoint.position)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _compact(self, whole: int, events: int) -> None:
        """Sort a copy of the live file, and put it in its place; where that fails, it is given up and tried later."""
        self.compacting = True
        before_s = await self._beside(time.thread_time)
        try:
            await self._build(lambda: self._beside(self._files.copy, whole, events, self._gives_way), self._gives_way)
            self._compaction.ended(await self._beside(time.thread_time) - before_s)
        except TagstackError as error:
            self._compaction.gave_up(str(error))
        finally:
            if self._building is not None:
                building, self._building = self._building, None
                await self._in_thread(self._files.set_aside, building)
            if self._live is not None:
                await self._in_thread(self._live.limit_memory, self._options.memory_mb)
            self.compacting = False

    async def _build(self, make: Callable[[], Awaitable[Models]], stopping: Callable[[], bool]) -> None:
        if self._building is None:
            self._building = await make()
            if self._live is not None:
                await self._in_thread(self._live.limit_memory, self._options.memory_mb // LIVE_SHARE)
        building = self._building
        target = (await self._source.identity(0)).last

        def reached() -> bool:
            return stopping() or (building.checkpoint.position >= target and self._near(building))

        try:
            await self._catch_up(building, reached, stopping)
            if not stopping():
                await self._beside(building.complete)
            # without a live file readers wait for this one, and a compaction sorts it afterwards
            if self._live is not None or not self._options.unsorted_events_max:
                await self._sort(building, stopping)
                await self._catch_up(building, reached, stopping)
            if not stopping():
                await self._switch(building)
        except (OtherLog, Damaged, GivenUp):
            self._building = None
            await self._in_thread(self._files.set_aside, building)
            raise

    async def _wait_before_anew(self, error: GivenUp) -> None:
        until = time.monotonic() + ANEW_WAIT_S
        while time.monotonic() < until and not self._stopping:
            await self._wait_out(error)

    async def _catch_up(self, building: Models, reached: Callable[[], bool], stopping: Callable[[], bool]) -> None:
        """Follow the log until that is reached; a copy waits whenever the live file falls behind."""
        while True:
            await self._follow(building, lambda: reached() or self._live_goes_first(), published=False)
            if reached():
                return
            while self._live_goes_first() and not stopping():  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(LOOK_INTERVAL_S)

    def _live_goes_first(self) -> bool:
        return self.compacting and self._live is not None and not self._near(self._live)

    async def _sort(self, building: Models, stopping: Callable[[], bool]) -> None:
        """Sort beside the thread that follows the log; a stop ends it. Raises OutOfRoom, Damaged."""
        if stopping():
            return
        sorting = self._beside(building.sort)
        while not (await asyncio.wait([sorting], timeout=LOOK_INTERVAL_S))[0]:
            if stopping():
                building.interrupt()  # again and again: the first may come between two statements
        await sorting

    def _beside(self, work: Callable[..., _T], *arguments: Any) -> asyncio.Future[_T]:
        """Do work on a file that is being built in a thread of its own: it takes long, and gives way to all others."""
        return asyncio.get_running_loop().run_in_executor(self._aside, work, *arguments)

    def _gives_way(self) -> bool:
        return self._stopping or self.rebuilding

    def _near(self, models: Models) -> bool:
        """Return whether a file lags no more than one batch."""
        return self.log_position - models.checkpoint.position < self._options.batch

    @abstractmethod
    async def _follow(self, models: Models, done: Callable[[], bool], *, published: bool) -> None:
        """Fold the log into a file until that is done."""

    @abstractmethod
    async def _switch(self, building: Models) -> None:
        """Put the file that was built in the live one's place, once it is no older than that."""

    @abstractmethod
    async def _wait_out(self, error: Unavailable) -> None:
        """Wait a moment for what is missing to come back."""

    @abstractmethod
    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let work go on by itself."""

    @abstractmethod
    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do work on files."""


def _give_way() -> None:
    """Lower the priority of this thread, where a thread has one of its own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def _progress(building: ReadModels | None, log_position: int) -> dict[str, Any]:
    """Return how far a build is; of no file yet, at the beginning."""
    position, (table, share) = (building.checkpoint.position, building.sorting()) if building else (0, ("", 0.0))
    return {"position": position, "log": log_position, "sorting": table, "sorted": share}
