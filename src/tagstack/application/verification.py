"""Checks a log event by event: does each follow from the ones before it, as the rules of the stack have it?

Memory follows the tags that exist, not the length of the log. After a complaint the event is believed,
so that one broken event is told of once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from tagstack.application.records import Record
from tagstack.application.verified import Broken, Command, StreamSeen, TagSeen, command_rules, image_stream_rules
from tagstack.application.verified_tags import tag_rules
from tagstack.domain.errors import UnreadableEvent
from tagstack.domain.events import (
    Event,
    ImageRecorded,
    ImageStreamCreated,
    ImageStreamDeleted,
    ImageStreamEvent,
    TagConfigured,
    TagDeleted,
    TagEvent,
)
from tagstack.domain.reading import read_event

COMPLAINTS_MAX = 1_000  # kept; the others are counted


class Complaint(msgspec.Struct, frozen=True, order=True):
    """Something that must not be. `position` is the event's, null where it is about none."""

    position: int | None
    check: str
    detail: str


class Findings:
    """The complaints found, up to a bound, and how many there were."""

    def __init__(self) -> None:
        self.kept: list[Complaint] = []
        self.count = 0

    def add(self, position: int | None, check: str, detail: str) -> None:
        """Take one complaint."""
        self.count += 1
        if len(self.kept) < COMPLAINTS_MAX:
            self.kept.append(Complaint(position, check, detail))


class Address(Protocol):
    """How the log files an event."""

    def __call__(self, event: Event) -> tuple[str, str]:
        """Return an event's subject and its `ce-id`."""
        ...


class Once(Protocol):
    """Remembers what may come only once."""

    def add(self, key: str, position: int) -> None:
        """Remember that `key` came at a position."""
        ...

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Return, for each key that came again, where it came first and where again."""
        ...


class Verification:
    """Sees every message of a log in order. `streams` is what is known after the last one."""

    def __init__(self, findings: Findings, address: Address, once: Once) -> None:
        self._findings = findings
        self._address = address
        self._once = once
        self.streams: dict[tuple[str, str], StreamSeen] = {}
        self.events = 0
        self.position = 0

    def see(self, record: Record) -> Event | None:
        """Check the next message; return its event, or None where it is none."""
        self.events += 1
        if record.position != self.position + 1:
            self._complain(record, "gap", f"the positions from {self.position + 1} on are missing")
        self.position = record.position
        try:
            event = read_event(record.body)
        except UnreadableEvent as error:
            self._complain(record, "readable", f"{record.subject}: no event: {error}")
            return None
        self._filed(record, event)
        self._references(record, event)
        if isinstance(event, ImageStreamEvent | TagEvent):
            self._of_image_stream(record, event)
        elif isinstance(event, ImageRecorded):
            self._once.add(record.subject, record.position)
        return event

    def end(self) -> None:
        """Check what only the end of the log tells."""
        for (namespace, name), stream in self.streams.items():
            command = stream.command
            # a deleted image stream pays the events of its tags when it is loaded next
            if not command.last and not command.deletes:
                told = f"{namespace}/{name}: command {command.cause!r} has no last event"
                self._findings.add(stream.position, "command", told)
        for first, again in self._once.repeated():
            self._findings.add(again, "once", f"the same command or image took effect at position {first} already")

    def tags(self) -> dict[tuple[str, str, str], TagSeen]:
        """Return every tag that had an event, deleted ones included."""
        return {(*name, tag): seen for name, stream in self.streams.items() for tag, seen in stream.tags.items()}

    def _complain(self, record: Record, check: str, detail: str) -> None:
        self._findings.add(record.position, check, detail)

    def _filed(self, record: Record, event: Event) -> None:
        subject, identity = self._address(event)
        if record.subject != subject:
            self._complain(record, "subject", f"is stored under {record.subject}, belongs under {subject}")
        kind = f"dev.tagstack.{event.__struct_config__.tag}"
        for name, wanted in (("ce-id", identity), ("ce-type", kind), ("ce-time", event.time)):
            if record.headers.get(name) != wanted:
                self._complain(record, "headers", f"{name} is {record.headers.get(name)!r}, must be {wanted!r}")

    def _references(self, record: Record, event: Event) -> None:
        named: dict[str, int | None] = {"causedBy": event.caused_by}
        if isinstance(event, TagEvent) and event.head is not None:
            head = event.head
            named |= {"head.causedBy": head.caused_by, "head.restores": head.restores}
            if head.promoted_from is not None:
                named["head.promotedFrom.position"] = head.promoted_from.position
        for field, position in named.items():
            if position is not None and not 0 < position < record.position:
                self._complain(record, "reference", f"{field} is {position}, which is no earlier event")

    def _of_image_stream(self, record: Record, event: ImageStreamEvent | TagEvent) -> None:
        name = (event.namespace, event.image_stream)
        stream = self.streams.setdefault(name, StreamSeen())
        self._broken(record, command_rules(stream, event))
        if stream.command.last or stream.command.cause != event.cause:
            stream.command = Command(base=1 if isinstance(event, ImageStreamCreated) else stream.generation)
            self._once.add(f"{name[0]}/{name[1]}/{event.cause}", record.position)
        self._broken(record, image_stream_rules(stream, event))
        if isinstance(event, TagEvent):
            before = stream.tags.get(event.tag) or TagSeen()
            self._broken(record, tag_rules(before, event))
            stream.tags[event.tag] = _after(record, event, before)
        _believe(stream, event, record.position)

    def _broken(self, record: Record, broken: Iterator[Broken]) -> None:
        for check, detail in broken:
            self._complain(record, check, detail)


def _believe(stream: StreamSeen, event: ImageStreamEvent | TagEvent, position: int) -> None:
    command = stream.command
    command.cause, command.number, command.last = event.cause, event.number, event.last
    command.told = (event.actor, event.reason, event.time, event.caused_by)
    command.deletes = command.deletes or isinstance(event, ImageStreamDeleted)
    command.configures = command.configures or isinstance(event, TagConfigured | TagDeleted | ImageStreamEvent)
    if isinstance(event, ImageStreamEvent):
        stream.exists = not isinstance(event, ImageStreamDeleted)
        stream.created = event.created
    stream.uid, stream.generation = event.uid, event.generation
    stream.time = max(stream.time, event.time)
    stream.position = position


def _after(record: Record, event: TagEvent, before: TagSeen) -> TagSeen:
    head = event.head
    entry = (head.position or record.position) if head is not None else 0
    return TagSeen(
        image=event.image,
        pull_spec=event.pull_spec,
        entry=entry,
        held=event.hold is not None,
        gone=head is None and event.spec is None,
        position=record.position,
        digest=body_digest(record.body),
    )


def body_digest(body: bytes) -> bytes:
    """Return what tells a body from others, in few bytes."""
    return hashlib.blake2b(body, digest_size=16).digest()


Progress = Callable[[int], None]
