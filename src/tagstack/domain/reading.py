"""From a stored body to an event: whoever reads whole events goes by this, so that none takes what another refuses.

Types alone don't say what a time looks like, or how large a number is; the read models hold both in columns.
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from tagstack.domain.errors import UnreadableEvent
from tagstack.domain.events import EVENT_VERSION, AnyEvent, ImageStreamEvent, TagEvent
from tagstack.domain.nesting import UNREADABLE

NUMBER_END = 2**31  # of an event within its command
WHOLE_END = 2**63  # of positions and counts

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_is_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII).fullmatch


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
    _check_values(event)
    return event


def _check_values(event: AnyEvent) -> None:
    _check_time("time", event.time)
    if not 0 <= event.number < NUMBER_END:
        raise UnreadableEvent(f"number must be from 0 to {NUMBER_END - 1}, got {event.number}")
    _check_whole("causedBy", event.caused_by)
    if isinstance(event, TagEvent):
        _check_whole("generation", event.generation)
        _check_tag(event)
    elif isinstance(event, ImageStreamEvent):
        _check_whole("generation", event.generation)
        _check_time("created", event.created)


def _check_tag(event: TagEvent) -> None:
    if event.image and (event.head is None or event.pull_spec is None):
        raise UnreadableEvent(f"head and pullSpec are required where image is {event.image!r}")
    if (head := event.head) is not None:
        if head.since != event.time:  # mostly it is the same, and costs
            _check_time("head.since", head.since)
        _check_whole("head.generation", head.generation)
        _check_whole("head.position", head.position)
        _check_whole("head.causedBy", head.caused_by)
        _check_whole("head.restores", head.restores)
    if (hold := event.hold) is not None:
        _check_time("hold.since", hold.since)
        _check_whole("hold.withheldCount", hold.withheld_count)


def _check_time(name: str, text: str) -> None:
    try:
        if _is_time(text):
            datetime.fromisoformat(text)
            return
    except ValueError:
        pass  # a day or an hour that there is not
    raise UnreadableEvent(f"{name} must be an RFC 3339 time in UTC, got {text!r}")


def _check_whole(name: str, value: int | None) -> None:
    if value is not None and not 0 <= value < WHOLE_END:
        raise UnreadableEvent(f"{name} must be from 0 to {WHOLE_END - 1}, got {value}")
