"""The port `Log` kept in a list: the same promises as on JetStream, without a server.

It can be told to fail as the real one may, and to skip positions; a batch never has a gap. What it is told
of the events before it compares with what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import UTC, datetime

from tagstack.adapters.nats_subjects import event_subject, image_prefix, image_stream_prefix, tag_events
from tagstack.application.ports import Stored
from tagstack.domain.errors import StaleState
from tagstack.domain.events import Event, ImageRecorded, ImageStreamEvent, TagEvent
from tagstack.domain.image_stream import ImageStream, load
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.times import canonical, text_of


def _now() -> str:
    return text_of(datetime.now(UTC))


class MemoryLog:
    """Events in the order they were stored, with position and the moment of storing.

    `before_append` is called before each append and may raise; every `skip`-th position is left out.
    """

    def __init__(
        self,
        before_append: Callable[[MemoryLog], None] | None = None,
        now: Callable[[], str] = _now,
        skip: int = 0,
    ) -> None:
        self._before_append = before_append
        self._now = now
        self._skip = skip
        self._moments: dict[int, str] = {}
        self.stored: list[Stored] = []
        self.appends = 0

    def put(self, *events: Event) -> int:
        """Store events unconditionally; return the last position."""
        return self._store(events)

    async def load(self, name: ImageStreamName) -> ImageStream:
        """Return the state told by the last event of each subject."""
        return load(name, {event_subject(event): (position, event) for position, event in self._of(name)}.values())

    async def append(
        self, name: ImageStreamName, events: Sequence[Event], expected: int, previous: Sequence[int] = ()
    ) -> int:
        """Store events, all or none, if the image stream's last position is `expected`."""
        self._admit(name, events, expected, previous)
        return self._store(events)

    async def append_chain(
        self,
        name: ImageStreamName,
        events: Sequence[tuple[Event, Context]],
        expected: int,
        previous: Sequence[int] = (),
    ) -> list[int]:
        """Store events of one command each, the first if the image stream's last position is `expected`."""
        self._admit(name, [event for event, _ in events], expected, previous)
        return [self._store([event]) for event, _ in events]

    async def record(self, event: Event, expected: int = 0) -> int:
        """Store an image's event if its subject's last position is `expected`."""
        self._expect(await self.of_subject(event), expected)
        return self._store([event])

    async def last(self, event: Event) -> Stored | None:
        """Return the last event under the same subject as `event`."""
        return self._last(event_subject(event))

    async def of_subject(self, event: Event) -> list[Stored]:
        """Return every event under the same subject as `event`."""
        return [stored for stored in self.stored if event_subject(stored[1]) == event_subject(event)]

    async def history(self, name: ImageStreamName, tag: str | None, last: int) -> list[Stored]:
        """Return the events of one tag, or of the whole image stream, up to position `last`."""
        found = [stored for stored in self._of(name) if stored[0] <= last]
        return [stored for stored in found if tag is None or getattr(stored[1], "tag", None) == tag]

    async def since(self, name: ImageStreamName, time: str) -> list[Stored]:
        """Return an image stream's events stored at or after `time`; all of them for an empty one."""
        start = canonical(time) if time else ""
        return [stored for stored in self._of(name) if self._moments[stored[0]] >= start]

    async def after(self, name: ImageStreamName, position: int) -> list[Stored]:
        """Return an image stream's events after `position`."""
        return [stored for stored in self._of(name) if stored[0] > position]

    async def at(self, position: int) -> Event | None:
        """Return the event at one position."""
        return dict(self.stored).get(position)

    async def tag_event(self, name: TagName) -> tuple[int, TagEvent] | None:
        """Return the last event of a tag."""
        found = self._last(tag_events(name.image_stream, name.tag))
        return (found[0], found[1]) if found and isinstance(found[1], TagEvent) else None

    async def image(self, image: str) -> ImageRecorded | None:
        """Return the event that recorded an image."""
        found = self._last(f"{image_prefix(image)}.recorded")
        return found[1] if found and isinstance(found[1], ImageRecorded) else None

    async def beside(self, image: str) -> list[Stored]:
        """Return the last annotations event and every signature of an image."""
        prefix = image_prefix(image)
        last = {event_subject(event): (position, event) for position, event in self.stored}
        return [last[subject] for subject in last if subject.startswith((f"{prefix}.annotations", f"{prefix}.sign"))]

    async def image_streams(self, namespace: str) -> list[ImageStreamName]:
        """Return every image stream that ever was in a namespace; "" for all namespaces."""
        own = [event for _, event in self.stored if isinstance(event, ImageStreamEvent)]
        known = {ImageStreamName(event.namespace, event.image_stream) for event in own}
        return [name for name in known if namespace in ("", name.namespace)]

    def _of(self, name: ImageStreamName) -> list[Stored]:
        prefix = image_stream_prefix(name) + "."
        return [stored for stored in self.stored if event_subject(stored[1]).startswith(prefix)]

    def _last(self, subject: str) -> Stored | None:
        return next((stored for stored in reversed(self.stored) if event_subject(stored[1]) == subject), None)

    def _expect(self, stored: Sequence[Stored], expected: int) -> None:
        last = stored[-1][0] if stored else 0
        if last != expected:
            raise StaleState(last)

    def _admit(self, name: ImageStreamName, events: Sequence[Event], expected: int, previous: Sequence[int]) -> None:
        """Fail where that is asked for, or due; and where `previous`, if told, is not each subject's last position."""
        self.appends += 1
        if self._before_append is not None:
            self._before_append(self)
        self._expect(self._of(name), expected)
        lasts = [self._last(event_subject(event)) for event in events]
        assert not previous or list(previous) == [last[0] if last else 0 for last in lasts]

    def _store(self, events: Sequence[Event]) -> int:
        position = self.stored[-1][0] if self.stored else 0
        position += bool(self._skip) and (position + 1) % self._skip == 0
        for event in events:
            position += 1
            self.stored.append((position, event))
            self._moments[position] = self._now()
        return position
