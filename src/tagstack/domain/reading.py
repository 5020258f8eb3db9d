"""From a stored body to an event: whoever reads whole events goes by this, so that none takes what another refuses."""

from __future__ import annotations

import msgspec

from tagstack.domain.errors import UnreadableEvent
from tagstack.domain.events import EVENT_VERSION, AnyEvent
from tagstack.domain.nesting import UNREADABLE

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def read_event(body: bytes) -> AnyEvent:
    """Return the event in a body. Raises UnreadableEvent saying why, for one of a later version too."""
    try:
        event = _decoder.decode(body)
        if not body.isascii():
            body.decode()  # the decoder skips what no field takes, whatever bytes that has
    except UNREADABLE as error:
        raise UnreadableEvent(str(error)) from error
    if event.version > EVENT_VERSION:
        raise UnreadableEvent(f"version {event.version} is newer than {EVENT_VERSION}")
    return event
