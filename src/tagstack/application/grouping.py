"""Grouping: pushes that wait for the same image stream are decided together and appended in one go.

Only plain pushes, whose decision needs nothing but what the ones before them lead to: each makes one
event, stored only if the one before it is. Whatever goes wrong, the rest is carried out one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from tagstack.application.idempotency import Aggregate
from tagstack.application.replies import outcome
from tagstack.application.turns import Job
from tagstack.domain.commands import MapImage
from tagstack.domain.decider import Decision
from tagstack.domain.deletion import owed_deletes
from tagstack.domain.events import ImageTagged
from tagstack.domain.image_stream import ImageStream, evolve
from tagstack.domain.lookups import required


class Member(msgspec.Struct, frozen=True):
    """A job of a group, and its event."""

    job: Job
    event: ImageTagged


Decide = Callable[[Job, ImageStream], Decision]


def group_of(jobs: Iterable[Job], aggregate: Aggregate, decide: Decide, members_max: int) -> list[Member]:
    """Return the leading jobs that go together; the state is then what all their events lead to.

    Positions are not known yet: `settle` tells them, or the state has to be forgotten.
    """
    members: list[Member] = []
    if owed_deletes(aggregate.state):
        return members
    seen: set[str] = set()
    for job in jobs:
        if len(members) == members_max or job.request.command_id in seen or not _is_plain(job, aggregate):
            break
        event = _event(job, aggregate.state, decide)
        if event is None:
            break
        evolve(aggregate.state, event, 0)
        seen.add(job.request.command_id)
        members.append(Member(job, event))
    return members


def settle(aggregate: Aggregate, members: Sequence[Member], positions: Sequence[int]) -> None:
    """Take the positions of a group's events into the state, and answer its jobs but the first."""
    for member, position in zip(members, positions, strict=True):
        evolve(aggregate.state, member.event, position)
        done = outcome([member.event], position)
        if member.job.request.repeatable:
            aggregate.remember(member.job.request.command_id, done)
        turn = member.job.turn
        if turn is not None and not turn.done():
            turn.set_result(done)


def _is_plain(job: Job, aggregate: Aggregate) -> bool:
    """Return whether a job is a push that depends on the state alone, and was certainly never seen before."""
    command, request = job.command, job.request
    if not isinstance(command, MapImage) or command.dry_run or job.doubtful_since:
        return False
    if command.expected_image is not None or command.expected_position is not None:
        return False
    if request.repeatable and aggregate.find(request.command_id):
        return False
    if request.repeatable and aggregate.must_read(request.command_id, request.sent) is not None:
        return False
    return not required(command, aggregate.state)


def _event(job: Job, state: ImageStream, decide: Decide) -> ImageTagged | None:
    """Return the one event that a push leads to: a new head, on an image that is recorded already."""
    try:
        decision = decide(job, state)
    except Exception:  # a refusal, or a bug
        return None  # told when it is judged by itself, by the log's last word
    if decision.image is not None or len(decision.events) != 1:
        return None
    event = decision.events[0]
    # a head that only changes its pull spec keeps its position, which may not be known yet
    return event if isinstance(event, ImageTagged) and event.image != event.previous_image else None
