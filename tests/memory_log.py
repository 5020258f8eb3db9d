"""The log in memory: keeps the promises of the port `Log`, and can be told to fail as the real one may."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tagstack.application.ports import Stored
from tagstack.domain.errors import StaleState
from tagstack.domain.events import (
    Event,
    ImageAnnotated,
    ImageRecorded,
    ImageSigned,
    ImageStreamEvent,
    TagEvent,
)
from tagstack.domain.image_stream import ImageStream, load
from tagstack.domain.names import ImageStreamName, TagName

Subject = tuple[str, ...]


def subject_of(event: Event) -> Subject:
    """Return what tells an event's subject from another's."""
    match event:
        case ImageStreamEvent():
            return ("stream", event.namespace, event.image_stream)
        case TagEvent():
            return ("tag", event.namespace, event.image_stream, event.tag)
        case ImageRecorded():
            return ("recorded", event.image)
        case ImageAnnotated():
            return ("annotations", event.image)
        case ImageSigned():
            return ("signatures", event.image, event.name)
    raise AssertionError(f"{type(event).__name__} has no subject")


class MemoryLog:
    """Positions count from 1. `before_append` is called before each append and may raise."""

    def __init__(self, before_append: Callable[[MemoryLog], None] | None = None) -> None:
        self.stored: list[Stored] = []
        self.appends = 0
        self._before_append = before_append

    def put(self, *events: Event) -> int:
        """Store events unconditionally; return the last position."""
        for event in events:
            self.stored.append((len(self.stored) + 1, event))
        return len(self.stored)

    async def load(self, name: ImageStreamName) -> ImageStream:
        """Return the state that the last event of each of an image stream's subjects tells."""
        newest = {subject_of(event): (position, event) for position, event in self._of(name)}
        return load(name, newest.values())

    async def append(self, name: ImageStreamName, events: Sequence[Event], expected: int) -> int:
        """Store events after position `expected` of the image stream. Raises StaleState."""
        self.appends += 1
        if self._before_append is not None:
            self._before_append(self)
        newest = max((position for position, _ in self._of(name)), default=0)
        if newest != expected:
            raise StaleState(newest)
        return self.put(*events)

    async def record(self, event: Event, expected: int = 0) -> int:
        """Store an image's event if its subject's last position is `expected`. Raises StaleState."""
        last = await self.last(event)
        if (last[0] if last else 0) != expected:
            raise StaleState(last[0] if last else 0)
        return self.put(event)

    async def last(self, event: Event) -> Stored | None:
        """Return the last event under the same subject."""
        found = await self.of_subject(event)
        return found[-1] if found else None

    async def of_subject(self, event: Event) -> list[Stored]:
        """Return every event under the same subject."""
        return [stored for stored in self.stored if subject_of(stored[1]) == subject_of(event)]

    async def history(self, name: ImageStreamName, tag: str | None, last: int) -> list[Stored]:
        """Return the events of a tag, or of the whole image stream, up to a position."""
        return [
            (position, event)
            for position, event in self._of(name)
            if position <= last and (tag is None or (isinstance(event, TagEvent) and event.tag == tag))
        ]

    async def since(self, name: ImageStreamName, time: str) -> list[Stored]:
        """Return an image stream's events from a time on."""
        return [(position, event) for position, event in self._of(name) if event.time >= time]

    async def tag_event(self, name: TagName) -> tuple[int, TagEvent] | None:
        """Return the last event of a tag."""
        found = [
            (position, event)
            for position, event in self._of(name.image_stream)
            if isinstance(event, TagEvent) and event.tag == name.tag
        ]
        return found[-1] if found else None

    async def at(self, position: int) -> Event | None:
        """Return the event at a position."""
        return self.stored[position - 1][1] if 0 < position <= len(self.stored) else None

    async def image(self, image: str) -> ImageRecorded | None:
        """Return the event that recorded an image."""
        for _, event in self.stored:
            if isinstance(event, ImageRecorded) and event.image == image:
                return event
        return None

    async def image_streams(self, namespace: str) -> list[ImageStreamEvent]:
        """Return the last event of every image stream of a namespace; "" for all."""
        newest = {subject_of(event): event for _, event in self.stored if isinstance(event, ImageStreamEvent)}
        return [event for event in newest.values() if namespace in ("", event.namespace)]

    async def beside(self, image: str) -> list[Stored]:
        """Return the last annotations event and every signature of an image."""
        newest = {
            subject_of(event): (position, event)
            for position, event in self.stored
            if isinstance(event, ImageAnnotated | ImageSigned) and event.image == image
        }
        return list(newest.values())

    def _of(self, name: ImageStreamName) -> list[Stored]:
        return [
            (position, event)
            for position, event in self.stored
            if isinstance(event, ImageStreamEvent | TagEvent)
            and (event.namespace, event.image_stream) == (name.namespace, name.name)
        ]
