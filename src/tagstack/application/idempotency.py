"""Once means once: which commands an image stream has already seen, however late they come again.

The log itself is the memory. What is kept here only spares reading it: the outcomes of commands
since a known time, per image stream, bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from tagstack.application.ports import Stored
from tagstack.application.replies import Outcome, outcome
from tagstack.domain.events import Event
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.times import text_of

OUTCOMES_MAX = 20_000  # per image stream
FORGOTTEN_MAX = 200_000  # per image stream: of older commands only a hash of the id is kept
CLOCK_SKEW = timedelta(minutes=2)  # how far a sender's clock may be from ours, and JetStream's duplicate window


class _Seen(msgspec.Struct):
    outcome: Outcome
    time: str


class Aggregate(msgspec.Struct):
    """An image stream's state and the commands it has seen.

    Every command that stored an event at `complete_from` or later is in `seen`, or the hash of its id
    in `forgotten`; "" means every one.
    """

    state: ImageStream
    complete_from: str
    seen: dict[str, _Seen] = {}
    forgotten: set[int] = set()

    def remember(self, command_id: str, done: Outcome) -> None:
        """Keep a command's outcome; the oldest is forgotten when there are too many."""
        self.seen[command_id] = _Seen(done, self.state.time)
        self.forget_oldest()

    def forget_oldest(self) -> None:
        """Keep to the bounds; beyond the second one it is complete only after the newest forgotten one."""
        while len(self.seen) > OUTCOMES_MAX:
            command_id = next(iter(self.seen))
            oldest = self.seen.pop(command_id)
            self.forgotten.add(hash(command_id))
            if len(self.forgotten) > FORGOTTEN_MAX:
                self.forgotten.clear()
                self.complete_from = oldest.time + "~"

    def find(self, command_id: str) -> Outcome | None:
        """Return the outcome of a command, if it is remembered."""
        found = self.seen.get(command_id)
        return found.outcome if found else None

    def must_read(self, command_id: str, sent: str) -> str | None:
        """Return from when on the log has to be read to know about a command sent at `sent`.

        None means that nothing has to be read, "" that everything has.
        """
        start = earliest(sent) if sent else ""
        if hash(command_id) in self.forgotten:
            return start
        if self.complete_from == "" or (start and start > self.complete_from):
            return None
        return start


def fresh(state: ImageStream) -> Aggregate:
    """Return an aggregate just loaded: no event is newer than the state's time, none at all when it is new."""
    return Aggregate(state, state.time + "~" if state.position else "")


def earliest(sent: str) -> str:
    """Return the earliest time, by our clock, at which a command sent at `sent` can have been stored."""
    return text_of(datetime.fromisoformat(sent) - CLOCK_SKEW)


def outcomes(stored: Iterable[Stored]) -> dict[str, tuple[Outcome, str]]:
    """Return the outcome, and the time, of every command whose last event is among `stored`."""
    by_command: dict[str, list[Event]] = {}
    finished: dict[str, tuple[Outcome, str]] = {}
    for position, event in stored:
        events = by_command.setdefault(event.cause, [])
        events.append(event)
        if event.last:
            finished[event.cause] = (outcome(events, position), event.time)
    return finished


def whole(stored: Sequence[Stored]) -> bool:
    """Return whether some consecutive events begin and end with a command's first and last one."""
    return stored[0][1].number == 1 and stored[-1][1].last


def learn(aggregate: Aggregate, stored: Sequence[Stored], start: str) -> dict[str, tuple[Outcome, str]]:
    """Take in an image stream's events since `start` ("" for all of them), and return their commands' outcomes.

    More of them may be returned than are remembered.
    """
    told = outcomes(stored)
    for command_id, (done, time) in told.items():
        aggregate.seen[command_id] = _Seen(done, time)
    aggregate.complete_from = min(aggregate.complete_from, start)
    aggregate.forget_oldest()
    return told
