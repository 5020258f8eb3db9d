"""Keeps TAGSTACK_TAGS true to the log: the server fills it, but does not notice when the log lost its tail.

After a power cut, or a restore, the server goes on behind the last position it had copied: what was
lost stays in TAGSTACK_TAGS, and what took its place never gets there. Then the stream is made anew,
and the server fills it from the log's beginning.

The server may also stop copying: after a restart it waits up to two minutes between attempts, and there
are reports of sources that never go on (nats-server issue 8630). Then its source is taken away and
given back, which makes it begin at once where it had stopped; nothing else changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from nats.aio.client import Client

from tagstack.adapters.cancelling import cancelled
from tagstack.adapters.nats_direct import DirectGet, StoredMessage
from tagstack.adapters.nats_history import Past
from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, declare, jetstream, stream_info
from tagstack.adapters.nats_subjects import EVERY_TAG, TAGS
from tagstack.adapters.nats_transport import Transport
from tagstack.domain.errors import TagstackError, Unavailable

CHECK_INTERVAL_S = 10.0  # a server that is not ours may restart without a word to us
STALLED_S = 10.0  # nothing copied for so long although there is something to copy; it usually takes a moment
RETRY_WAIT_S = 0.5
STOP_TIMEOUT_S = 1.0
CONFIRM_WAIT_S = 0.5  # before a difference is looked for again, and up to three times as long
REPLICAS_CONFIRM_WAIT_S = 10.0  # the same with replicas: after a cut one that lags behind may answer for some seconds
WINDOW_POSITIONS = 10_000  # how much of the log's end is compared after a reconnection: all that may have been lost
RUNNING_WINDOW_POSITIONS = 200  # and while nothing happened
EVERYTHING = ">"  # what is asked for under any other wildcard, the server looks for among all subjects
_SOURCE = "Nats-Stream-Source"
_STREAM_NOT_FOUND = 10059

_log = logging.getLogger(__name__)


class TagsKeeper:
    """Compares TAGSTACK_TAGS with the log: at the start, after every reconnection, and now and then."""

    def __init__(self, nc: Client, replicas: int, lost: Callable[[], None], transport: Transport | None = None) -> None:
        self._nc = nc
        self._replicas = replicas
        self._lost = lost  # called when the log turned out to be another one
        self._log = DirectGet(nc, transport=transport)
        self._tags = DirectGet(nc, TAGS_STREAM, transport)
        self._each = Past(self._tags)
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._state = (0, "")  # how far log and TAGSTACK_TAGS were when last looked at
        self._checked = (0, "")  # the same, of when they last agreed
        self._copied = (0, "")  # and of when everything was copied
        self._newest = 0  # position of the log's last event of a tag when it was last compared
        self._behind = (0, 0.0)  # position up to which was copied when it was found behind, and since when it is
        self.renewed = 0
        self.woken = 0

    async def start(self) -> TagsKeeper:
        """Check once, then keep checking. Raises Unavailable."""
        await self._log.start()
        await self._tags.start()
        await self.check()
        self._task = asyncio.create_task(self._watch())
        return self

    async def stop(self) -> None:
        """Check no more."""
        if self._task is not None:
            await cancelled([self._task], STOP_TIMEOUT_S)

    def reconnected(self) -> None:
        """Check at once, and everything."""
        self._checked = self._copied = (0, "")
        self._due.set()

    async def check(self) -> None:
        """Make TAGSTACK_TAGS anew where it differs from the log, twice in a row; wake it where it has stalled.

        Raises: Unavailable.
        """
        if not await self.difference():
            if self._state != self._copied:
                await self._wake()
            return
        # not all workers in one moment: nats-server then fails to create the stream, or one deletes what another made
        wait_s = CONFIRM_WAIT_S if self._replicas == 1 else REPLICAS_CONFIRM_WAIT_S
        await asyncio.sleep(wait_s * random.uniform(1, 3))  # noqa: S311 jitter
        if not (why := await self.difference()):
            return
        _log.error("%s is made anew from the log: %s", TAGS_STREAM, why)
        # dies it here, the next start declares the stream; two workers at once only fill it twice
        await jetstream(self._nc, f"STREAM.DELETE.{TAGS_STREAM}")
        await declare(self._nc, self._replicas)
        self.renewed += 1
        self._lost()

    async def difference(self) -> str:
        """Return what TAGSTACK_TAGS says that the log does not; "" where they agree."""
        # first, and the log after it: what is stored meanwhile, and copied at once, is no difference
        tags = await jetstream(self._nc, f"STREAM.INFO.{TAGS_STREAM}")
        if tags.get("error", {}).get("err_code") == _STREAM_NOT_FOUND:
            return "it is gone"
        if "error" in tags:
            raise Unavailable(f"stream {TAGS_STREAM}: {tags['error']['description']}")
        newest = await self._tags.last(EVERYTHING)
        log = await stream_info(self._nc, EVENTS_STREAM)
        if _moment(tags["created"]) < _moment(log["created"]):
            return "it is older than the log"
        last = int(log["state"]["last_seq"])
        self._state = state = (last, str(newest.position) if newest else "")
        if newest is None:
            self._newest = await self._newest_of_all()
            return ""
        if _source(newest) > last:
            return f"it comes from position {_source(newest)}, the log ends at {last}"
        if state == self._checked:
            return ""
        why = await self._compare(last, newest.position)
        if not why:
            self._checked = state
        return why

    async def _compare(self, log_last: int, tags_last: int) -> str:
        window = RUNNING_WINDOW_POSITIONS if self._checked[0] else WINDOW_POSITIONS
        first = max(log_last - window, 0) + 1
        # no further than both were when this began: under load more may come than is read meanwhile
        stored = await self._log.read(EVERY_TAG, first=first, last=log_last)
        self._newest = stored[-1].position if stored else await self._newest_of_all()
        kept = await self._kept(max(tags_last - window, 0) + 1, tags_last)
        return _foreign(stored, kept, first) or await self._lacking(stored, kept)

    async def _kept(self, first: int, last: int) -> list[StoredMessage]:
        """Return what TAGSTACK_TAGS has at some positions: a few one by one, as for a batch the server first counts."""
        if last - first < RUNNING_WINDOW_POSITIONS:
            return await self._each.at(range(first, last + 1))
        return await self._tags.read(EVERYTHING, first=first, last=last)

    async def _newest_of_all(self) -> int:
        """Return where the log's last event of a tag is; it stands still as long as that is looked for."""
        newest = await self._log.last(EVERY_TAG)
        return newest.position if newest else 0

    async def _lacking(self, stored: list[StoredMessage], kept: list[StoredMessage]) -> str:
        """Return what TAGSTACK_TAGS lacks of what it has copied, as its last word on each tag says."""
        sources = {message.subject: _source(message) for message in kept}
        copied = max(sources.values(), default=0)
        for message in stored:
            *_, namespace, image_stream, _, tag = message.subject.split(".")
            subject = f"{TAGS}.{namespace}.{image_stream}.{tag}"
            if message.position > copied or sources.get(subject, 0) >= message.position:
                continue
            moved = await self._tags.last(subject)  # since it was read
            if moved is None or _source(moved) < message.position:
                return f"it lacks the event at position {message.position}"
        return ""

    async def _wake(self) -> None:
        """Let the server copy again, if it has not for long although there is something to copy."""
        copied = await self._tags.last(EVERYTHING)
        reached = _source(copied) if copied else 0
        if self._newest <= reached:
            self._behind = (0, 0.0)
            self._copied = self._state
            return
        now = time.monotonic()
        if self._behind[1] == 0 or self._behind[0] != reached:
            self._behind = (reached, now)
        elif now - self._behind[1] >= STALLED_S:
            _log.warning("%s has stalled at position %s of %s; waking it", TAGS_STREAM, reached, self._newest)
            config = (await stream_info(self._nc, TAGS_STREAM))["config"]
            # if it dies here, the next check or start declares the source again; two workers at once do no harm
            await jetstream(self._nc, f"STREAM.UPDATE.{TAGS_STREAM}", config | {"sources": []})
            await declare(self._nc, self._replicas)
            self._behind = (reached, time.monotonic())
            self.woken += 1

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._due.wait()
            self._due.clear()  # before the check: what is asked for meanwhile is another one
            try:
                await self.check()
            except TagstackError as error:
                _log.warning("%s can't be compared with the log: %s", TAGS_STREAM, error)
                self._due.set()
                await asyncio.sleep(RETRY_WAIT_S)


def _foreign(stored: list[StoredMessage], kept: list[StoredMessage], first: int) -> str:
    """Return which of the last events of tags, as kept, is not the log's, from position `first` on.

    Either side may have grown while the other was read, so only what both have reached is compared.
    """
    reached = stored[-1].position if stored else 0
    events = {message.position: message.headers.get("ce-id") for message in stored}
    for message in kept:
        position = _source(message)
        if first <= position <= reached and events.get(position) != message.headers.get("ce-id"):
            return f"the event it has for position {position} is not the log's"
    return ""


def _source(message: StoredMessage) -> int:
    """Return the position in the log that the server copied a message from."""
    told = message.headers.get(_SOURCE, "").split()
    return int(told[1]) if len(told) > 1 and told[1].isdigit() else 0


def _moment(created: str) -> datetime:
    return datetime.fromisoformat(created[:26].rstrip("Z")).replace(tzinfo=UTC)
