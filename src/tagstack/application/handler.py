"""Commands on image streams: one at a time each, many image streams in parallel.

A command is answered after its events are stored. What if it dies here? Before the append nothing
happened; after it the log knows the command's id, and whoever gets it again finds its outcome there.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

import msgspec

from tagstack.application.grants import Grants
from tagstack.application.grouping import group_of, settle
from tagstack.application.idempotency import Aggregate, earliest, fresh, learn, whole
from tagstack.application.image_commands import IMAGE_COMMANDS, ImageHandler
from tagstack.application.lookups import Lookups
from tagstack.application.ports import Log, Request
from tagstack.application.replies import Outcome, outcome
from tagstack.application.turns import Job, Turns
from tagstack.domain.changes import TAGS_PER_COMMAND_MAX, Context
from tagstack.domain.commands import AnyCommand, MapImage
from tagstack.domain.decider import Decision, check_addressee, decide
from tagstack.domain.deletion import owed_deletes
from tagstack.domain.errors import Refused, StaleState, TagstackError, TooManyRequests, Unavailable, UnknownOutcome
from tagstack.domain.events import Event, ImageRecorded
from tagstack.domain.following import FollowTag
from tagstack.domain.image_stream import ImageStream, evolve
from tagstack.domain.images import image_name
from tagstack.domain.lookups import Facts, required
from tagstack.domain.names import ImageStreamName
from tagstack.domain.wire import read_command

ATTEMPTS_MAX = 50
UNKNOWN_MAX = 2  # appends without an ack, each of which takes its timeout
BACKOFF_S = 0.002
BACKOFF_STEPS_MAX = 20


class Limits(msgspec.Struct, frozen=True):
    """The bounds of a command worker: commands in flight, image streams and image names in memory.

    `together` is how many pushes to one image stream are appended in one go.
    """

    in_flight: int = 4_096
    image_streams: int = 10_000
    images: int = 100_000
    together: int = 64


class Surroundings(msgspec.Struct, frozen=True):
    """What the handler can't decide by itself: the time, fresh uids, who may read what, the registry."""

    now: Callable[[], str]
    uid: Callable[[], str]
    grants: Grants
    internal_registry: str = ""


class CommandHandler:
    """Handles requests: reads, decides, appends, and answers with an outcome or a refusal."""

    def __init__(self, log: Log, surroundings: Surroundings, limits: Limits | None = None) -> None:
        self._log = log
        self._around = surroundings
        self._limits = limits or Limits()
        self._lookups = Lookups(log, surroundings.grants)
        self._images = ImageHandler(log, surroundings.now)
        self._aggregates: OrderedDict[ImageStreamName, Aggregate] = OrderedDict()
        self._known_images: OrderedDict[str, None] = OrderedDict()
        self._turns = Turns()
        self.in_flight = 0

    async def handle(self, request: Request) -> Outcome:
        """Carry out one request.

        Raises: Refused with the rule that stands against it, TooManyRequests over the bound of
        commands in flight, Unavailable where the log does not answer.
        """
        if self.in_flight >= self._limits.in_flight:
            raise TooManyRequests.in_flight(self._limits.in_flight)
        self.in_flight += 1
        try:
            command = read_command(request.body, internal_registry=self._around.internal_registry)
            if isinstance(command, IMAGE_COMMANDS):
                return await self._images.handle(command, request)
            check_addressee(command, request.target)
            return await self._turns.take(Job(command, request), self._work)
        finally:
            self.in_flight -= 1

    async def follow(self, command: FollowTag, request: Request) -> Outcome:
        """Move a follower, in its image stream's turn. Raises as `handle`."""
        return await self._turns.take(Job(command, request), self._work)

    def forget(self) -> None:
        """Forget everything read from the log, as after a lost connection: it may have lost its tail."""
        self._aggregates.clear()
        self._known_images.clear()

    async def _work(self, job: Job, waiting: deque[Job]) -> Outcome:
        if waiting and self._limits.together > 1:
            done = await self._together(job, waiting)
            if done is not None:
                return done
        try:
            return await self._carry_out(job)
        except TagstackError:
            raise
        except BaseException:
            self._aggregates.pop(job.request.target, None)  # a bug, or the end: who knows what it is half-way to
            raise

    async def _together(self, first: Job, waiting: deque[Job]) -> Outcome | None:
        """Carry out a job with those behind it, and return its outcome; None where it has to go by itself."""
        name, began = first.request.target, self._around.now()
        aggregate = await self._aggregate(name)
        expected = aggregate.state.position
        members = group_of([first, *waiting], aggregate, self._foresee, self._limits.together)
        if not members:
            return None
        for _ in members[1:]:
            waiting.popleft()
        try:
            events = [(member.event, member.job.context) for member in members]
            previous = aggregate.state.previous(member.event for member in members)
            positions = await self._log.append_chain(name, events, expected, previous)
        except BaseException as error:
            self._aggregates.pop(name, None)
            if not isinstance(error, StaleState):  # some may be stored, so each of them looks for itself
                for member in members:
                    member.job.doubtful_since = began
            waiting.extendleft(member.job for member in members[:0:-1])
            if isinstance(error, TagstackError):
                return None
            raise
        settle(aggregate, members, positions)
        return outcome([members[0].event], positions[0])

    def _foresee(self, job: Job, state: ImageStream) -> Decision:
        return decide(job.command, state, self._context(job, state, self._around.now()), Facts())

    async def _carry_out(self, job: Job) -> Outcome:
        name, unknown = job.request.target, 0
        for attempt in range(ATTEMPTS_MAX):
            aggregate, began = await self._aggregate(name), self._around.now()
            try:
                if owed_deletes(aggregate.state):
                    await self._finish_deletion(aggregate)
                if (job.request.repeatable or job.doubtful_since) and (done := await self._seen(aggregate, job)):
                    return done
                return await self._decide_and_store(job, aggregate, began)
            except StaleState:
                await self._catch_up(aggregate)
                await asyncio.sleep(random.random() * BACKOFF_S * min(attempt, BACKOFF_STEPS_MAX))  # noqa: S311 jitter
            except UnknownOutcome as error:
                self._aggregates.pop(name, None)
                job.doubtful_since = job.doubtful_since or began
                unknown += 1
                if unknown == UNKNOWN_MAX:
                    raise Unavailable(f"whether the events are stored is not known: {error}") from error
        raise Unavailable(f"{ATTEMPTS_MAX} attempts met other writers or no answer; what happened is in the log")

    async def _aggregate(self, name: ImageStreamName) -> Aggregate:
        aggregate = self._aggregates.get(name)
        if aggregate is None:
            aggregate = self._aggregates[name] = fresh(await self._log.load(name))
            while len(self._aggregates) > self._limits.image_streams:
                self._aggregates.popitem(last=False)
        else:
            self._aggregates.move_to_end(name)
        return aggregate

    async def _catch_up(self, aggregate: Aggregate) -> None:
        """Fold what another writer stored meanwhile into a cached state, or forget the state."""
        state = aggregate.state
        missed = await self._log.after(state.name, state.position)
        if not missed or not whole(missed):
            self._aggregates.pop(state.name, None)
            return
        for position, event in missed:
            evolve(state, event, position)
        learn(aggregate, missed, aggregate.complete_from)

    async def _check_current(self, state: ImageStream) -> None:
        """Raise StaleState unless the state is the log's last word.

        An append finds that out by itself; what is answered without one has to ask.
        """
        if await self._log.after(state.name, state.position):
            raise StaleState

    async def _finish_deletion(self, aggregate: Aggregate) -> list[Event]:
        """Store the `tag_deleted` events that a deleted image stream still owes, before anything else."""
        stored: list[Event] = []
        while owed := owed_deletes(aggregate.state)[:TAGS_PER_COMMAND_MAX]:
            await self._append(aggregate.state, owed)
            stored += owed
        return stored

    async def _seen(self, aggregate: Aggregate, job: Job) -> Outcome | None:
        request, doubtful_since = job.request, job.doubtful_since
        if found := aggregate.find(request.command_id):
            return found
        start = aggregate.must_read(request.command_id, request.sent) if request.repeatable else None
        if start is None and doubtful_since:
            start = earliest(doubtful_since)
        if start is None:
            return None
        told = learn(aggregate, await self._log.since(aggregate.state.name, start), start)
        found_in_log = told.get(request.command_id)
        return found_in_log[0] if found_in_log else None

    async def _decide_and_store(self, job: Job, aggregate: Aggregate, now: str) -> Outcome:
        command, request, state = job.command, job.request, aggregate.state
        try:
            wanted = [] if isinstance(command, FollowTag) else required(command, state)
            facts = await self._lookups.fetch(wanted, state, request.actor) if wanted else Facts()
            decision = decide(command, state, self._context(job, state, now), facts)
        except Refused:
            await self._check_current(state)
            raise
        if command.dry_run:
            await self._check_current(state)
            return outcome(decision.events, state.position, dry_run=True)
        if decision.image is not None:
            await self._record(decision.image)
        if not decision.events:
            await self._check_current(state)
            return outcome([], state.position)
        await self._append(state, decision.events)
        if owed_deletes(state):
            decision.events += await self._finish_deletion(aggregate)
        done = outcome(decision.events, state.position)
        if request.repeatable:
            aggregate.remember(request.command_id, done)
        return done

    async def _append(self, state: ImageStream, events: Sequence[Event]) -> None:
        """Store events as one batch, and fold them into the state."""
        last = await self._log.append(state.name, events, state.position, state.previous(events))
        for position, event in enumerate(events, last - len(events) + 1):
            evolve(state, event, position)

    def _context(self, job: Job, state: ImageStream, now: str) -> Context:
        request = job.request
        return Context(
            actor=request.actor,
            cause=request.command_id,
            now=now,
            reason=request.reason,
            uid=self._around.uid() if not state.exists else "",
            caused_by=request.caused_by,
            internal_registry=self._around.internal_registry,
            create=request.create,
            recorded=self._is_recorded(job.command),
        )

    def _is_recorded(self, command: AnyCommand | FollowTag) -> bool:
        posted = command.image if isinstance(command, MapImage) else None
        return posted is not None and image_name(posted) in self._known_images

    async def _record(self, event: ImageRecorded) -> None:
        """Record a decision's image, unless it is known. A known image is no error."""
        if event.image in self._known_images:
            return
        await record_once(self._log, event)
        self._known_images[event.image] = None
        if len(self._known_images) > self._limits.images:
            self._known_images.popitem(last=False)


async def record_once(log: Log, event: ImageRecorded) -> int | None:
    """Store the event that records an image; return its position, None where the image was known."""
    for _ in range(UNKNOWN_MAX):
        try:
            return await log.record(event)
        except StaleState:
            return None
        except UnknownOutcome:
            continue  # stored or not, the next attempt tells
    raise Unavailable(f"the log did not acknowledge the image {event.image} in {UNKNOWN_MAX} attempts")
