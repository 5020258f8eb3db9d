"""What the application needs from the outside, in domain words. Adapters keep these promises."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context
from typing import Protocol

import msgspec

from tagstack.domain.events import Event, ImageRecorded, TagEvent
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.names import ImageStreamName, TagName

Stored = tuple[int, Event]  # position and event


class Log(Protocol):
    """The append-only log of all events."""

    async def load(self, name: ImageStreamName) -> ImageStream:
        """Return the state of an image stream as the log's last word tells it."""
        ...

    async def append(
        self, name: ImageStreamName, events: Sequence[Event], expected: int, previous: Sequence[int] = ()
    ) -> int:
        """Store events, all or none, after position `expected`; return the last one's position.

        `previous` is what `ImageStream.previous` says of them, which spares `history` a search.

        Raises: StaleState where another writer was faster, UnknownOutcome where no ack says whether
        they are stored, Unavailable where they are not.
        """
        ...

    async def append_chain(
        self,
        name: ImageStreamName,
        events: Sequence[tuple[Event, Context]],
        expected: int,
        previous: Sequence[int] = (),
    ) -> list[int]:
        """Store events of one command each, the first after position `expected`, each only if the one before is.

        Each comes with the context of its request; `previous` as in `append`. Returns the positions.

        Raises: StaleState where none is stored; UnknownOutcome, Unavailable, where some may be.
        """
        ...

    async def record(self, event: Event, expected: int = 0) -> int:
        """Store an image's event if its subject's last position is `expected`; return its position.

        Raises: StaleState where it is not, UnknownOutcome, Unavailable.
        """
        ...

    async def last(self, event: Event) -> Stored | None:
        """Return the last event under the same subject as `event`."""
        ...

    async def of_subject(self, event: Event) -> list[Stored]:
        """Return every event under the same subject as `event`, in order."""
        ...

    async def history(self, name: ImageStreamName, tag: str | None, last: int) -> list[Stored]:
        """Return the events of one tag, or of the whole image stream, up to position `last`, in order."""
        ...

    async def since(self, name: ImageStreamName, time: str) -> list[Stored]:
        """Return an image stream's events stored at or after `time` (empty: all), in order."""
        ...

    async def after(self, name: ImageStreamName, position: int) -> list[Stored]:
        """Return an image stream's events after `position`, in order."""
        ...

    async def at(self, position: int) -> Event | None:
        """Return the event at one position; None where the log has none there."""
        ...

    async def tag_event(self, name: TagName) -> tuple[int, TagEvent] | None:
        """Return the last event of a tag, with its position."""
        ...

    async def image(self, image: str) -> ImageRecorded | None:
        """Return the event that recorded an image."""
        ...


class ReadableLog(Log, Protocol):
    """The log as queries read it."""

    async def image_streams(self, namespace: str) -> list[ImageStreamName]:
        """Return every image stream that ever was in a namespace; "" for all namespaces."""
        ...

    async def beside(self, image: str) -> list[Stored]:
        """Return the last annotations event and every signature of an image."""
        ...


class Request(msgspec.Struct, frozen=True):
    """A command as it arrived, and what its transport says about it.

    `repeatable` says that its sender chose the command id, so that it may arrive again. `sent` is when
    it was first sent, empty where unknown.
    """

    actor: str
    target: ImageStreamName
    body: bytes
    command_id: str
    repeatable: bool = True
    reason: str = ""
    sent: str = ""
    create: bool = True
    caused_by: int | None = None
