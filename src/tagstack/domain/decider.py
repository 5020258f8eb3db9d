"""The decider: `decide(command, state, context, facts)` returns the events a command leads to, or refuses.

Pure: the caller fetches what `lookups.required` names, and stores the events. No event means that
what the command asks for is so already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tagstack.domain import lookups
from tagstack.domain.changes import Arrival, Changes, Context
from tagstack.domain.commands import (
    AnyCommand,
    ConfigureTag,
    DeleteImageStream,
    DeleteTag,
    HoldTag,
    MapImage,
    PromoteTag,
    PutImageStream,
    PutImageTag,
    ReleaseTag,
    RollbackTag,
    TagCommand,
)
from tagstack.domain.deletion import delete_image_stream, delete_tag, existing_tag
from tagstack.domain.errors import BadRequest, Conflict, NotFound
from tagstack.domain.events import (
    Event,
    ImageRecorded,
    Provenance,
)
from tagstack.domain.following import FollowTag, follow
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.image_tags import put_image_tag
from tagstack.domain.mapping import map_image, recorded
from tagstack.domain.names import ImageStreamName, split_tag
from tagstack.domain.rollback import rollback
from tagstack.domain.sources import source_tag
from tagstack.domain.spec_tags import configure_tag, put_image_stream

NAMESPACE_MISMATCH = "the namespace of the provided object does not match the namespace sent on the request"


class Decision(msgspec.Struct):
    """The events of the image stream, in order, and the image to be recorded before them, if new."""

    events: list[Event]
    image: ImageRecorded | None = None


def target_of(command: AnyCommand) -> tuple[str, str]:
    """Return the image stream and tag that a command names; the tag is empty where it has none."""
    if isinstance(command, MapImage):
        return command.metadata.name, command.tag
    if isinstance(command, TagCommand):
        return split_tag(command.metadata.name)
    return command.metadata.name, ""


def check_addressee(command: AnyCommand, target: ImageStreamName) -> None:
    """Raise BadRequest where the body names another namespace or image stream than the subject."""
    if command.metadata.namespace not in ("", target.namespace):
        raise BadRequest(f"{NAMESPACE_MISMATCH}: {command.metadata.namespace!r} is not {target.namespace!r}")
    named = target_of(command)[0]
    if named != target.name:
        raise BadRequest(f"the object names image stream {named!r}, the request was sent to {target.name!r}")


def decide(command: AnyCommand | FollowTag, state: ImageStream, context: Context, facts: lookups.Facts) -> Decision:
    """Return what `command` leads to. Raises a Refused error where a rule stands against it."""
    _check_expected(command, state)
    handler, origin = _HANDLERS[type(command)]
    changes = Changes(state, context, origin)
    handler(command, changes, facts)
    decision = Decision(changes.finish())
    if isinstance(command, MapImage) and not context.recorded:
        decision.image = recorded(command, changes, last=not decision.events)
    return decision


def _check_expected(command: AnyCommand | FollowTag, state: ImageStream) -> None:
    if not isinstance(command, TagCommand) or (command.expected_image is None and command.expected_position is None):
        return
    head = state.tag(target_of(command)[1]).head
    image = head.image if head else ""
    position = head.position if head else 0
    if command.expected_image is not None and command.expected_image != image:
        raise Conflict(f"expectedImage is {command.expected_image!r}, but the tag points at {image!r}")
    if command.expected_position is not None and command.expected_position != position:
        raise Conflict(f"expectedPosition is {command.expected_position}, but the head's event is at {position}")


def _hold_tag(command: HoldTag, changes: Changes, facts: lookups.Facts) -> None:
    changes.hold(existing_tag(command, changes))


def _release_tag(command: ReleaseTag, changes: Changes, facts: lookups.Facts) -> None:
    name = existing_tag(command, changes)
    hold = changes.tag(name).hold
    if hold is None:
        return
    if command.advance and hold.withheld is not None:
        changes.move(name, Arrival(hold.withheld.image, hold.withheld.pull_spec, "release"))
    if changes.tag(name).hold is not None:
        changes.release(name)


def _promote_tag(command: PromoteTag, changes: Changes, facts: lookups.Facts) -> None:
    assert command.source is not None, "validated: a promotion has a source"
    source = source_tag(command.source, changes.state.name)
    if source.image_stream == changes.state.name:
        entry = changes.tag(source.tag).head
    else:
        entry = facts.sources[source].head
    if entry is None:
        raise NotFound.of("imagestreamtags", f"{source.image_stream.name}:{source.tag}")
    changes.create()
    provenance = Provenance(
        image_stream=str(source.image_stream),
        tag=source.tag,
        image=entry.image,
        position=entry.position,
        actor=entry.actor,
        time=entry.since,
    )
    destination = split_tag(command.metadata.name)[1]
    changes.move(destination, Arrival(entry.image, entry.pull_spec, "promote", promoted_from=provenance))


_Handler = Callable[[Any, Changes, lookups.Facts], None]
_HANDLERS: dict[type, tuple[_Handler, str]] = {
    MapImage: (map_image, "mapping"),
    ConfigureTag: (configure_tag, "tag"),
    PutImageTag: (put_image_tag, "tag"),
    PutImageStream: (put_image_stream, "tag"),
    RollbackTag: (rollback, "rollback"),
    HoldTag: (_hold_tag, "tag"),
    ReleaseTag: (_release_tag, "release"),
    PromoteTag: (_promote_tag, "promote"),
    FollowTag: (follow, "alias"),
    DeleteTag: (delete_tag, "delete"),
    DeleteImageStream: (delete_image_stream, "delete"),
}
