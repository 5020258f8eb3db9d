"""Deletion: gone from the current view, while history stays."""

from __future__ import annotations

from tagstack.domain.changes import TAGS_PER_COMMAND_MAX, Changes
from tagstack.domain.commands import DeleteImageStream, DeleteTag, TagCommand
from tagstack.domain.errors import Conflict, Forbidden, NotFound
from tagstack.domain.events import ImageStreamDeleted, ImageStreamEvent, TagDeleted
from tagstack.domain.image_stream import ImageStream, Tag
from tagstack.domain.lookups import Facts
from tagstack.domain.names import split_tag


def existing_tag(command: TagCommand, changes: Changes) -> str:
    """Return the tag a command names. Raises NotFound where it does not exist now."""
    name, tag = split_tag(command.metadata.name)
    if not changes.exists:
        raise NotFound.of("imagestreams", name)
    if changes.tag(tag).gone:
        raise NotFound.of("imagestreamtags", f"{name}:{tag}")
    return tag


def delete_tag(command: DeleteTag, changes: Changes, facts: Facts) -> None:
    """Remove a tag, unless it is protected, or held and not forced."""
    name = existing_tag(command, changes)
    if command.metadata.uid not in ("", changes.uid):
        raise Conflict("the UID precondition was not met")
    if not command.force:
        _check_not_held(changes, name)
    if pattern := changes.protection(name):
        raise Forbidden(
            f'imagestreamtags "{changes.state.name}:{name}" is forbidden: the image stream protects tags '
            f'"{pattern}": once set they are neither moved nor deleted'
        )
    changes.delete(name)
    changes.complete_generations()


def delete_image_stream(command: DeleteImageStream, changes: Changes, facts: Facts) -> None:
    """Remove an image stream; the events of its tags follow in the same batch as far as it carries them."""
    state = changes.state
    if not state.exists or state.last_event is None:
        raise NotFound.of("imagestreams", command.metadata.name)
    if command.metadata.uid not in ("", changes.uid):
        raise Conflict("the UID precondition was not met")
    for name in changes.names() if not command.force else ():
        _check_not_held(changes, name)
    told = {field: getattr(state.last_event, field) for field in ImageStreamEvent.__struct_fields__}
    told |= changes.told() | {"number": 1, "last": not state.tags}
    deleted = ImageStreamDeleted(**told)
    changes.events.append(deleted)
    changes.events.extend(_tags_deleted(deleted, state.tags)[: TAGS_PER_COMMAND_MAX - 1])


def owed_deletes(state: ImageStream) -> list[TagDeleted]:
    """Return the `tag_deleted` events that a deleted image stream still owes, in order."""
    deleted = state.last_event
    if state.exists or deleted is None or not state.tags:
        return []
    return _tags_deleted(deleted, state.tags)


def _tags_deleted(deleted: ImageStreamEvent, tags: dict[str, Tag]) -> list[TagDeleted]:
    """Return one event per tag, told as part of the deletion.

    Numbers fall to 2, so that they are the same whoever finishes a deletion, and from wherever.
    """
    told = {field: getattr(deleted, field) for field in _TOLD}
    names = sorted(tags)
    return [
        TagDeleted(
            **told,
            number=len(names) + 1 - index,
            last=index == len(names) - 1,
            tag=name,
            image=None,
            previous_image=head.image if (head := tags[name].head) else None,
            pull_spec=None,
            head=None,
            spec=None,
            hold=None,
        )
        for index, name in enumerate(names)
    ]


_TOLD = (
    *("time", "actor", "cause", "reason", "origin", "caused_by", "version"),
    *("namespace", "image_stream", "uid", "generation"),
)


def _check_not_held(changes: Changes, name: str) -> None:
    if hold := changes.tag(name).hold:
        why = f" ({hold.reason})" if hold.reason else ""
        raise Conflict(
            f'imagestreamtags "{changes.state.name}:{name}" is held by {hold.actor} since {hold.since}{why}: '
            "release it, or delete with force"
        )
