"""The rules that hold between two events of one tag."""

from __future__ import annotations

from collections.abc import Iterator

from tagstack.application.verified import Broken, TagSeen
from tagstack.domain.events import ImageTagged, PushWithheld, TagDeleted, TagEvent, TagHeld, TagReleased

MOVES_THE_HELD = ("rollback", "release")


def tag_rules(before: TagSeen, event: TagEvent) -> Iterator[Broken]:
    """Return how an event breaks the rules of its tag: chain, head, hold."""
    if event.previous_image != before.image:
        yield "chain", f"previousImage is {event.previous_image!r}, the event before it left {before.image!r}"
    yield from _head_rules(event)
    if isinstance(event, ImageTagged):
        yield from _move_rules(before, event)
    elif isinstance(event, TagDeleted):
        yield from _delete_rules(before, event)
    else:
        yield from _stay_rules(before, event)
    yield from _hold_rules(before, event)


def _head_rules(event: TagEvent) -> Iterator[Broken]:
    head = event.head
    stated = (event.image, event.pull_spec)
    meant = (head.image, head.pull_spec) if head is not None else (None, None)
    if stated != meant:
        yield "head", f"image and pullSpec are {stated}, the head's are {meant}"


def _move_rules(before: TagSeen, event: ImageTagged) -> Iterator[Broken]:
    head = event.head
    if head is None:
        yield "head", "image_tagged without a head"
        return
    if before.held and event.origin not in MOVES_THE_HELD:
        yield "hold", f"a held tag is moved by origin {event.origin!r}"
    if event.image == before.image:
        if event.pull_spec == before.pull_spec:
            yield "head", "image_tagged changes neither image nor pull spec"
        if head.position != before.entry:
            yield "head", f"head.position is {head.position}, the entry was made at {before.entry}"
        return
    if head.position != 0:
        yield "head", f"head.position is {head.position} in the event that makes the entry, must be 0"
    told = (head.since, head.actor, head.cause, head.reason, head.origin)
    if told != (event.time, event.actor, event.cause, event.reason, event.origin):
        yield "head", "since, actor, cause, reason or origin of a new head are not the event's"


def _stay_rules(before: TagSeen, event: TagEvent) -> Iterator[Broken]:
    kind = event.__struct_config__.tag
    if (event.image, event.pull_spec) != (before.image, before.pull_spec):
        yield "head", f"{kind} changes what the tag points at"
    elif event.head is not None and event.head.position != before.entry:
        yield "head", f"head.position is {event.head.position}, the entry was made at {before.entry}"


def _delete_rules(before: TagSeen, event: TagDeleted) -> Iterator[Broken]:
    if event.head is not None or event.spec is not None or event.hold is not None:
        yield "head", "tag_deleted leaves a head, a spec or a hold"
    if before.gone:
        yield "chain", "tag_deleted of a tag that is not there"


def _hold_rules(before: TagSeen, event: TagEvent) -> Iterator[Broken]:
    held = event.hold is not None
    match event:
        case TagHeld() if before.held or not held:
            yield "hold", "tag_held of a tag that is held, or without a hold"
        case TagReleased() if held or not before.held:
            yield "hold", "tag_released of a tag that is not held, or with a hold"
        case PushWithheld() if not before.held or event.hold is None or event.hold.withheld is None:
            yield "hold", "push_withheld of a tag that is not held, or without the withheld image"
