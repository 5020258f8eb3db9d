"""The log on JetStream: loads image streams, appends their events, reads their history."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from contextvars import Context

import msgspec
from nats.aio.client import Client

from tagstack.adapters.nats_append import (
    EXPECTED,
    EXPECTED_SUBJECT,
    MESSAGE_ID,
    Appender,
    Message,
)
from tagstack.adapters.nats_direct import DirectGet, StoredMessage, TooManySubjects
from tagstack.adapters.nats_group_commit import GroupCommit
from tagstack.adapters.nats_history import BEGINNING, Past, Start, link
from tagstack.adapters.nats_reader import LogSource
from tagstack.adapters.nats_subjects import (
    EVENTS,
    event_id,
    event_subject,
    image_prefix,
    image_stream_events,
    image_stream_of,
    image_stream_prefix,
    tag_events,
    token,
)
from tagstack.adapters.nats_trace import trace_headers
from tagstack.adapters.nats_transport import PlainTransport, Transport
from tagstack.application.ports import Stored
from tagstack.application.read_models import LogMessage
from tagstack.domain.errors import UnreadableEvent
from tagstack.domain.events import OF_IMAGE_STREAM, AnyEvent, Event, ImageRecorded, TagEvent
from tagstack.domain.image_stream import ImageStream, load
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.reading import read_event
from tagstack.domain.times import canonical

GUARDS_MAX = 8  # events read one by one, from the newest back; beyond it each subject's are
CE_SOURCE = "/tagstack"

_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Return an event's body."""
    return _encoder.encode(event)


def decode(position: int, body: bytes) -> AnyEvent:
    """Return the event in a body. Raises UnreadableEvent naming its position."""
    try:
        return read_event(body)
    except UnreadableEvent as error:
        raise UnreadableEvent(f"the event at position {position} can't be read: {error}") from error


def _headers_of(event: Event, identity: str) -> dict[str, str]:
    """Return an event's CloudEvents headers (binary mode)."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-type": f"dev.tagstack.{event.__struct_config__.tag}",
        "ce-source": CE_SOURCE,
        "ce-time": event.time,
        "content-type": "application/json",
    }
    headers.update(trace_headers())
    return headers


def message_of(event: Event) -> Message:
    """Return what stores an event.

    An image's event carries no message id: with one, the server would take the tag's event for its duplicate.
    """
    subject = event_subject(event)
    identity = event_id(event, subject)
    headers = _headers_of(event, identity)
    if isinstance(event, OF_IMAGE_STREAM):
        headers[MESSAGE_ID] = identity
    return Message(subject, encode(event), headers)


def _before(message: StoredMessage, name: ImageStreamName) -> int:
    """Return the position of the event before this one, as its guard says; what has none follows directly on it.

    Of a restored event the guard is not kept, so whoever looks at that position may find another image stream's.
    """
    if message.headers.get(EXPECTED_SUBJECT) == image_stream_events(name):
        return int(message.headers[EXPECTED])
    return message.position - 1


def _prepare(messages: Sequence[Message], name: ImageStreamName, expected: int, previous: Sequence[int]) -> None:
    """Guard the first of some messages, and link each to the one before it where that is told."""
    messages[0].headers[EXPECTED] = str(expected)
    messages[0].headers[EXPECTED_SUBJECT] = image_stream_events(name)
    if previous:
        link(messages, previous)


Tell = Callable[[Sequence[Event | None], int], None]


class NatsLog:
    """The port `Log`, kept on the JetStream stream TAGSTACK_EVENTS. `grouped`: the server syncs before each ack.

    `tell` is called with whatever was stored in a row, None for an image's event, and the last one's position.
    """

    def __init__(
        self, nc: Client, transport: Transport | None = None, *, grouped: bool = False, tell: Tell | None = None
    ) -> None:
        transport = transport or PlainTransport(nc)
        self._tell = tell or _tell_nobody
        self._appender = GroupCommit(Appender(transport), singles=grouped)
        self._direct = DirectGet(nc, transport=transport)
        self._past = Past(self._direct)
        self._source = LogSource(nc, transport=transport)

    async def start(self) -> NatsLog:
        """Subscribe to the inboxes of acks and reads."""
        await self._appender.start()
        await self._direct.start()
        return self

    async def load(self, name: ImageStreamName) -> ImageStream:
        """Return an image stream's state; the cost follows its tags, never the length of its history."""
        return load(name, _stored(await self._newest(image_stream_events(name))))

    async def append(
        self, name: ImageStreamName, events: Sequence[Event], expected: int, previous: Sequence[int] = ()
    ) -> int:
        """Store one command's events after position `expected`; several go as one atomic batch."""
        messages = [message_of(event) for event in events]
        _prepare(messages, name, expected, previous)
        stored = self._appender.append_batch(messages)
        del messages  # hundreds wait for their acks: what is sent is not kept meanwhile
        position = await stored
        self._tell(events, position)
        return position

    async def append_chain(
        self,
        name: ImageStreamName,
        events: Sequence[tuple[Event, Context]],
        expected: int,
        previous: Sequence[int] = (),
    ) -> list[int]:
        """Store events of one command each, each only if the one before it is.

        Whoever gets in between, on whatever image stream, may break the chain: the rest is refused.
        """
        messages = [context.run(message_of, event) for event, context in events]
        _prepare(messages, name, expected, previous)
        positions = await self._appender.append_chain(messages)
        for (event, _), position in zip(events, positions, strict=True):
            self._tell([event], position)
        return positions

    async def record(self, event: Event, expected: int = 0) -> int:
        """Store an image's event if its subject's last position is `expected`."""
        message = message_of(event)
        message.headers[EXPECTED] = str(expected)
        stored = self._appender.append(message)
        del message, event  # an image's are large, and hundreds wait
        position = await stored
        self._tell([None], position)
        return position

    async def last(self, event: Event) -> Stored | None:
        """Return the last event under the same subject as `event`."""
        return await self._last(event_subject(event))

    async def of_subject(self, event: Event) -> list[Stored]:
        """Return every event under the same subject as `event`, in order."""
        return _stored(await self._direct.read(event_subject(event)))

    async def history(self, name: ImageStreamName, tag: str | None, last: int) -> list[Stored]:
        """Return the events of one tag, or of the whole image stream, up to position `last`."""
        if tag is None:
            found = await self._of_image_stream(name)
        else:
            newest = await self._direct.last(tag_events(name, tag))
            found = await self._past.of_subject(newest) if newest else []
        return _stored(message for message in found if message.position <= last)

    async def since(self, name: ImageStreamName, time: str) -> list[Stored]:
        """Return an image stream's events stored at or after `time`; all of them for an empty one."""
        return _stored(await self._of_image_stream(name, Start(time=canonical(time)) if time else BEGINNING))

    async def after(self, name: ImageStreamName, position: int) -> list[Stored]:
        """Return an image stream's events after `position`, in order.

        From the newest one back, each tells where the one before it is. Reading on from a position would let the
        server look at everything that was stored since, to find usually nothing or one event.
        """
        missed: deque[StoredMessage] = deque()
        message = await self._direct.last(image_stream_events(name))
        while message is not None and message.position > position:
            missed.appendleft(message)
            before = _before(message, name)
            if before <= position:
                break
            message = await self._direct.at(before) if len(missed) < GUARDS_MAX else None
            if message is None or not message.subject.startswith(image_stream_prefix(name) + "."):
                return _stored(await self._of_image_stream(name, Start(position + 1)))
        return _stored(missed)

    async def at(self, position: int) -> Event | None:
        """Return the event at one position; None where the log has none there."""
        message = await self._direct.at(position)
        return None if message is None else decode(message.position, message.body)

    async def tag_event(self, name: TagName) -> tuple[int, TagEvent] | None:
        """Return the last event of a tag, with its position."""
        found = await self._last(tag_events(name.image_stream, name.tag))
        return (found[0], found[1]) if found and isinstance(found[1], TagEvent) else None

    async def image(self, image: str) -> ImageRecorded | None:
        """Return the event that recorded an image."""
        found = await self._last(f"{image_prefix(image)}.recorded")
        return found[1] if found and isinstance(found[1], ImageRecorded) else None

    async def beside(self, image: str) -> list[Stored]:
        """Return the last annotations event and every signature of an image."""
        prefix = image_prefix(image)
        return _stored(await self._direct.last_per_subject([f"{prefix}.annotations", f"{prefix}.signatures.*"]))

    async def image_streams(self, namespace: str) -> list[ImageStreamName]:
        """Return every image stream that ever was in a namespace; "" for all namespaces."""
        subject = f"{EVENTS}.{token(namespace) if namespace else '*'}.*.stream"
        return [image_stream_of(message.subject) for message in await self._newest(subject)]

    async def _last(self, subject: str) -> Stored | None:
        message = await self._direct.last(subject)
        return None if message is None else (message.position, decode(message.position, message.body))

    async def _of_image_stream(self, name: ImageStreamName, start: Start = BEGINNING) -> list[StoredMessage]:
        """Return every message of an image stream from `start` on, in order."""
        newest = await self._newest(image_stream_events(name))
        whole = [message for message in newest if isinstance(message, StoredMessage)]
        if len(whole) < len(newest):  # a consumer's messages come without their headers
            whole = await self._past.at([message.position for message in newest])
        return await self._past.of_subjects(whole, start)

    async def _newest(self, subjects: str) -> Sequence[StoredMessage | LogMessage]:
        """Return the last message of each subject under a filter, all of them: part of a state is no state."""
        try:
            return await self._direct.last_per_subject([subjects])
        except TooManySubjects:
            async with aclosing(self._source.read_last(subjects)) as last:
                return [message async for messages in last for message in messages]


def _tell_nobody(_events: Sequence[Event | None], _last: int) -> None:
    """Nobody wants to know what was stored."""


def _stored(messages: Iterable[StoredMessage | LogMessage]) -> list[Stored]:
    return [(message.position, decode(message.position, message.body)) for message in messages]
