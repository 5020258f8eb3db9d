"""Turns: commands on one image stream wait for each other, those on different ones do not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context

import msgspec

from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.domain.commands import AnyCommand
from tagstack.domain.following import FollowTag
from tagstack.domain.names import ImageStreamName


class Job(msgspec.Struct, eq=False):
    """A command that has its turn or waits for it.

    `doubtful_since` is set once an append of it may have been stored. `context` is its sender's, with
    what travels beside a request. `turn` ends with None when it is its turn, with an outcome when an
    earlier job has carried it out as well.
    """

    command: AnyCommand | FollowTag
    request: Request
    context: Context = msgspec.field(default_factory=copy_context)
    doubtful_since: str = ""
    turn: asyncio.Future[Outcome | None] | None = None


Work = Callable[[Job, deque[Job]], Awaitable[Outcome]]


class Turns:
    """Who works on which image stream, and who waits."""

    def __init__(self) -> None:
        self._waiting: dict[ImageStreamName, deque[Job]] = {}

    async def take(self, job: Job, work: Work) -> Outcome:
        """Run `work` when every earlier job on the same image stream has ended.

        It is told who waits by then: it may answer them, or put them back.
        """
        name = job.request.target
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = deque()
        elif (done := await self._wait(job, waiting)) is not None:
            return done
        try:
            return await work(job, waiting)
        finally:
            self._next(name, waiting)

    async def _wait(self, job: Job, waiting: deque[Job]) -> Outcome | None:
        turn: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        job.turn = turn
        waiting.append(job)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is None:
                self._next(job.request.target, waiting)
            raise

    def _next(self, name: ImageStreamName, waiting: deque[Job]) -> None:
        while waiting:
            turn = waiting.popleft().turn
            if turn is not None and not turn.done():
                turn.set_result(None)
                return
        del self._waiting[name]
