"""The projector: folds the log into read models, shows readers snapshots, rebuilds beside the live file.

All work on files is done in one thread of its own, so that whoever asks for the state is answered
meanwhile; the next batch is decoded in another one. Where it dies does not matter: the file tells how far
it came, the log has the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from tagstack.application.building import Builder
from tagstack.application.compaction import unsorted
from tagstack.application.lookahead import BatchBounds, Lookahead
from tagstack.application.publication import Publication
from tagstack.application.read_models import (
    Damaged,
    Decoded,
    Files,
    Models,
    Observer,
    OtherLog,
    ProjectorOptions,
    Snapshots,
    Source,
    Unwritten,
    continues,
)
from tagstack.domain.errors import Unavailable

RETRY_S = 0.25
IDLE_S = 0.25
LIVE_BATCH_BYTES = 32 << 20
BUILT_BATCH_SHARE = 0.2  # of the memory, for the events of a batch; one is folded while another one is read

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Projector(Builder[Models]):
    """Keeps one live file up to date, and builds another beside it when that is needed or asked for."""

    def __init__(
        self,
        files: Files[Models],
        snapshots: Snapshots[Models],
        options: ProjectorOptions,
        observer: Observer,
    ) -> None:
        super().__init__(files, snapshots, options)
        self._observer = observer
        self._thread = ThreadPoolExecutor(1, "duckdb")
        self._following: asyncio.Task[None] | None = None
        self._sorting: asyncio.Task[None] | None = None
        self._switching = False
        self._publication = Publication(snapshots, options.snapshot_interval_s, observer)
        self.trouble = ""

    async def start(self, source: Source) -> None:
        """Open the files, show readers what is there, and begin to follow the log.

        Where there is no finished file but a snapshot of an earlier one, readers keep that until the
        new file has caught up. Raises Unavailable, TagstackError for projections that can't be used.
        """
        self._source = source
        self._live = await self._in_thread(self._files.open)
        if self._live is None and not self._snapshots.exists():
            self._live = await self._in_thread(self._files.create)
        if self._live is None:
            self.rebuild()
        else:
            if continues(self._live.checkpoint, await source.identity(self._live.checkpoint.position)):
                await self._in_thread(self._publication.publish, self._live)
            self._following = self._begin(self._follow_live())
        self._sorting = self._begin(self._keep_sorted())

    async def stop(self) -> None:
        """Finish the batch in hand, show it to readers, and close the files, within a bound."""
        self._stopping = True
        tasks = [task for task in (self._following, self._rebuilding, self._sorting) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._options.shutdown_timeout_s)
        try:
            if self._live is not None and self._publication.changed and not self.trouble:
                await self._in_thread(self._publication.publish, self._live)
        finally:
            await self._in_thread(self._close)
            self._thread.shutdown()
            self._aside.shutdown(wait=False)

    @property
    def position(self) -> int:
        """Return the position of the live read models; of those being built where there are no others."""
        models = self._live or self._building
        return models.checkpoint.position if models else 0

    @property
    def published_position(self) -> int:
        """Return the position that readers see."""
        return self._publication.position

    @property
    def unsorted(self) -> int:
        """Return how many events came since the live tables were last sorted."""
        return unsorted(self._live) if self._live else 0

    @property
    def dead_letters(self) -> int:
        """Return how many messages could not be read."""
        models = self._live or self._building
        return models.dead_letters if models else 0

    async def check(self) -> None:
        """Let every check of the live read models look, whenever it did so last."""
        if self._live is not None:
            await self._in_thread(self._publication.check, self._live)

    def why_not_ready(self) -> str:
        """Return "" when readers see what the log says, but for a moment's lag; else why they don't."""
        if self.trouble:
            return f"projector: {self.trouble}"
        if self._publication.complaints:
            first = self._publication.complaints[0]
            return f"projector: snapshots are withheld, since {first.read_model} complains: {first.complaint}"
        if self._live is None:
            return f"projector: building read models, at {self.position} of {self.log_position}"
        return ""

    def state(self) -> dict[str, Any]:
        """Return the state as the control subject answers it."""
        models = self._live or self._building
        return {
            "position": self.position,
            "log": self.log_position,
            "lag": max(self.log_position - self.position, 0),
            "snapshot": self.published_position,
            "readModels": [{"name": name, "position": self.position} for name in (models.names() if models else [])],
            **self.builds(),
            "unsorted": self.unsorted,
            "deadLetters": self.dead_letters,
            "complaints": msgspec.to_builtins(self._publication.complaints),
            "trouble": self.trouble,
        }

    async def _follow_live(self) -> None:
        """Fold the log into the live file until a stop or a switch; come back after every trouble."""
        while not self._stopping and not self._switching and self._live is not None:
            live = self._live
            try:
                await self._follow(live, lambda: self._switching, published=True)
            except (OtherLog, Damaged) as error:
                _log.error("%s; the read models are built anew from the log", error)
                self._live = None
                await self._in_thread(self._give_up, live, isinstance(error, Damaged))
                self.rebuild()
                return
            except Unwritten as error:
                await self._wait_out(error)
                await self._reopen(live)
            except Unavailable as error:
                await self._wait_out(error)

    async def _reopen(self, live: Models) -> None:
        """Open the live file again, once that can be done; where it turns out to be damaged, build it anew."""
        self._live = None
        await self._in_thread(self._give_up, live, False)
        while not self._stopping:
            try:
                self._live = await self._in_thread(self._files.open)
            except Unavailable as error:
                await self._wait_out(error)
                continue
            self._publication.anew()
            if self._live is None:
                self.rebuild()
            return

    async def _switch(self, building: Models) -> None:
        """Put the file that was built in the live one's place, once it is no older than that."""
        self._switching = True
        try:
            if self._following is not None:
                await self._following
            live = self._live
            if live is not None:
                last = live.checkpoint.position
                await self._follow(building, lambda: building.checkpoint.position >= last, published=False)
            if self._stopping or (self.compacting and self.rebuilding):
                return
            await self._in_thread(self._snapshots.release)
            self._live = await self._in_thread(self._files.finish, building, live)
            self._building = None
            self._publication.anew()
            await self._in_thread(self._publication.publish, self._live)
        finally:
            self._switching = False
            if self._live is not None and not self._stopping:
                self._following = self._begin(self._follow_live())

    async def _follow(self, models: Models, done: Callable[[], bool], *, published: bool) -> None:
        identity = await self._source.identity(models.checkpoint.position)
        if not continues(models.checkpoint, identity):
            raise OtherLog(
                f"position {models.checkpoint.position} was read from another log, or the log has lost its tail"
            )
        self.log_position = identity.last
        reader = await self._source.read(models.checkpoint.position)
        ahead = Lookahead(reader, models, self._bounds(published))
        self.trouble = ""
        try:
            while not self._stopping and not done():
                decoded = await ahead.take(self._patience() if published else IDLE_S)
                self.log_position = max(reader.log_position, models.checkpoint.position)
                if decoded is not None:
                    await self._fold(models, decoded, identity.created, published=published)
                if published and self._patience() == 0:
                    await self._in_thread(self._publication.publish, models)
        finally:
            await ahead.stop()

    def _bounds(self, published: bool) -> BatchBounds:
        if published:
            return BatchBounds(self._options.batch, LIVE_BATCH_BYTES, self._options.batch)
        return BatchBounds(self._options.built_batch, int(self._options.memory_mb * BUILT_BATCH_SHARE * 1e6), 0)

    async def _fold(self, models: Models, decoded: Decoded, log: str, *, published: bool) -> None:
        new = await self._in_thread(models.fold_decoded, decoded, log)
        if published and new:
            self._publication.changed = True
            self._observer.folded(new)

    def _patience(self) -> float:
        """Return for how long to wait for messages: until the next snapshot is due, and not for ever."""
        behind = self.log_position - self.position > self._options.batch
        due_s = self._publication.due_in(behind=behind)
        return IDLE_S if due_s is None else min(due_s, IDLE_S)

    async def _wait_out(self, error: Unavailable) -> None:
        if str(error) != self.trouble:
            _log.warning("projector: %s", error)
        self.trouble = str(error)
        await asyncio.sleep(RETRY_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of an error that nobody is there to take: the process goes on, not ready."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trouble = f"stopped by {type(error).__name__}: {error}"
            _log.error("projector: %s", self.trouble, exc_info=error)

    def _give_up(self, models: Models, damaged: bool) -> None:
        self._snapshots.release()
        if damaged:
            self._files.set_aside(models)
        else:
            models.close()

    def _close(self) -> None:
        self._snapshots.close()
        for models in (self._live, self._building):
            if models is not None:
                models.close()
        self._files.close()

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
