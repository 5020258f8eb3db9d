"""What verification knows of image streams while it reads, and the rules that hold between their events."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tagstack.domain.events import (
    ImageStreamCreated,
    ImageStreamDeleted,
    ImageStreamEvent,
    TagDeleted,
    TagEvent,
)

Broken = tuple[str, str]  # the check, and what is wrong


class Command(msgspec.Struct):
    """The command whose events are being read; `base` is the generation before it."""

    cause: str = ""
    number: int = 0
    last: bool = True
    deletes: bool = False
    configures: bool = False
    base: int = 0
    told: tuple[str, str, str, int | None] = ("", "", "", None)


class TagSeen(msgspec.Struct, frozen=True):
    """A tag after its last event. `entry` is the position of the event that made the head, 0 for none."""

    image: str | None = None
    pull_spec: str | None = None
    entry: int = 0
    held: bool = False
    gone: bool = True
    position: int = 0
    digest: bytes = b""


class StreamSeen(msgspec.Struct):
    """An image stream after its last event."""

    uid: str = ""
    exists: bool = False
    created: str = ""
    generation: int = 0
    time: str = ""
    position: int = 0
    command: Command = msgspec.field(default_factory=Command)
    tags: dict[str, TagSeen] = {}


def command_rules(stream: StreamSeen, event: ImageStreamEvent | TagEvent) -> Iterator[Broken]:
    """Return how an event breaks the order of its command: numbers from 1, one `last`, one voice."""
    before = stream.command
    if before.last:
        if event.number != 1:
            yield "command", f"command {event.cause!r} begins with number {event.number}"
        return
    if event.cause != before.cause:
        yield "command", f"command {event.cause!r} begins before {before.cause!r} said its last"
        return
    if (event.actor, event.reason, event.time, event.caused_by) != before.told:
        yield "command", "actor, reason, time or causedBy differ from the command's other events"
    if before.deletes:
        yield from _deletion_rules(before, event)
    elif event.number != before.number + 1:
        yield "command", f"number {event.number} follows number {before.number}"


def _deletion_rules(before: Command, event: ImageStreamEvent | TagEvent) -> Iterator[Broken]:
    """A deleted image stream's tags follow it, their numbers falling to 2, whoever finishes it."""
    if not isinstance(event, TagDeleted):
        yield "command", f"{event.__struct_config__.tag} follows image_stream_deleted, whose tag_deleted are owed"
    elif before.number != 1 and event.number != before.number - 1:
        yield "command", f"number {event.number} follows number {before.number}"
    elif event.last != (event.number == 2):
        yield "command", f"number {event.number} of a deletion says last: {str(event.last).lower()}"


def image_stream_rules(stream: StreamSeen, event: ImageStreamEvent | TagEvent) -> Iterator[Broken]:
    """Return how an event breaks the rules of its image stream: time, identity, generation."""
    if event.time < stream.time:
        yield "time", f"{event.time} is before {stream.time}, the time of an earlier event of the image stream"
    yield from _identity_rules(stream, event)
    yield from _generation_rules(stream, event)


def _identity_rules(stream: StreamSeen, event: ImageStreamEvent | TagEvent) -> Iterator[Broken]:
    if isinstance(event, ImageStreamCreated):
        if stream.exists:
            yield "identity", "is created though it exists"
        if event.uid == stream.uid:
            yield "identity", f"is created again with the uid {event.uid} it had"
        if left := sorted(name for name, tag in stream.tags.items() if not tag.gone):
            yield "identity", f"is created again before the events that delete its old tags: {', '.join(left[:5])}"
        return
    if event.uid != stream.uid:
        yield "identity", f"uid is {event.uid!r}, the image stream's is {stream.uid!r}"
    if not stream.exists and not isinstance(event, TagDeleted):
        yield "identity", f"{event.__struct_config__.tag} of an image stream that does not exist"
    if isinstance(event, ImageStreamEvent) and event.created != stream.created:
        yield "identity", f"created is {event.created}, was {stream.created}"


def _generation_rules(stream: StreamSeen, event: ImageStreamEvent | TagEvent) -> Iterator[Broken]:
    base = stream.command.base
    if isinstance(event, ImageStreamCreated):
        if event.generation != 1:
            yield "generation", f"is {event.generation} at creation, must be 1"
        return
    if event.generation < stream.generation:
        yield "generation", f"falls from {stream.generation} to {event.generation}"
    elif event.generation > base + 1:
        yield "generation", f"rises from {base} to {event.generation} in one command"
    elif event.generation > base and not _raises(stream.command, event):
        yield "generation", f"rises from {base} to {event.generation} though no spec changes"
    if isinstance(event, ImageStreamDeleted) and event.generation != base:
        yield "generation", f"rises from {base} to {event.generation} at deletion"
    if isinstance(event, TagEvent):
        for field, part in (("head", event.head), ("spec", event.spec)):
            if part is not None and (part.generation or 0) > event.generation:
                yield "generation", f"{field}.generation {part.generation} is above the image stream's"


def _raises(command: Command, event: ImageStreamEvent | TagEvent) -> bool:
    return command.configures or event.__struct_config__.tag in (
        "tag_configured",
        "tag_deleted",
        "image_stream_updated",
    )
