"""The events of one command in the making, and the state they lead to so far.

The stored state is never touched: a tag's new state lives here until its event is stored.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tagstack.domain.arrival import Context
from tagstack.domain.errors import Fault, Invalid
from tagstack.domain.events import EVENT_VERSION, Event, ImageStreamEvent, TagEvent
from tagstack.domain.image_stream import ImageStream, Tag

TAGS_PER_COMMAND_MAX = 900
EVENTS_PER_COMMAND_MAX = 1_000  # what the server takes in one atomic batch; a new tag with a spec costs two

_E = TypeVar("_E", bound=ImageStreamEvent)


class Draft:
    """Collects events in the order they happen; `events` is numbered by `finish`."""

    def __init__(self, state: ImageStream, context: Context, origin: str) -> None:
        self.state = state
        self.context = context
        self.origin = origin
        self.events: list[Event] = []
        self.generation = state.generation
        self.uid = state.uid
        self.exists = state.exists
        self.time = max(context.now, state.time)
        self._tags: dict[str, Tag] = {}

    def tag(self, name: str) -> Tag:
        """Return a tag as this command has left it so far."""
        return self._tags.get(name) or (self.state.tag(name) if self.uid == self.state.uid else Tag(self.uid))

    def names(self) -> list[str]:
        """Return the names of all tags, in order."""
        stored = self.state.tags if self.uid == self.state.uid else {}
        return sorted({*stored, *self._tags})

    def finish(self) -> list[Event]:
        """Return the events, numbered, the last one marked.

        Raises: Invalid where more tags change at once than one batch can carry.
        """
        count = len(self.events)
        if count > TAGS_PER_COMMAND_MAX:
            self._check_size()
        for number, event in enumerate(self.events, 1):
            if event.number == 0:
                event.number, event.last = number, number == count
        return self.events

    def _check_size(self) -> None:
        tags = len({event.tag for event in self.events if isinstance(event, TagEvent)})
        for count, limit, what in (
            (tags, TAGS_PER_COMMAND_MAX, "tags may change"),
            (len(self.events), EVENTS_PER_COMMAND_MAX, "events may be written"),
        ):
            if count > limit:
                fault = Fault("spec.tags", "Invalid", f"at most {limit} {what} in one command", count)
                raise Invalid.of("ImageStream", self.state.name.name, [fault])

    def put_tag(self, name: str, kind: type[TagEvent], after: Tag, origin: str = "") -> None:
        """Add an event that leaves a tag as `after`."""
        before = self.tag(name)
        self._tags[name] = after
        self.events.append(
            kind(
                **self.told(origin),
                tag=name,
                image=after.head.image if after.head else None,
                previous_image=before.head.image if before.head else None,
                pull_spec=after.head.pull_spec if after.head else None,
                head=after.head,
                spec=after.spec,
                hold=after.hold,
            )
        )

    def put_image_stream(self, kind: type[_E], **fields: Any) -> None:
        """Add an event of the image stream itself."""
        self.events.append(kind(**self.told(""), **fields))

    def told(self, origin: str = "") -> dict[str, Any]:
        """Return what every event of this command says."""
        return {
            "time": self.time,
            "actor": self.context.actor,
            "reason": self.context.reason,
            "cause": self.context.cause,
            "caused_by": self.context.caused_by,
            "origin": origin or self.origin,
            "number": 0,
            "last": False,
            "version": EVENT_VERSION,
            "namespace": self.state.name.namespace,
            "image_stream": self.state.name.name,
            "uid": self.uid,
            "generation": self.generation,
        }
