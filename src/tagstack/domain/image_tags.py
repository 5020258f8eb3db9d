"""ImageTag: a tag's spec on its own, which may be created, replaced and removed while the history stays."""

from __future__ import annotations

from tagstack.domain import lookups
from tagstack.domain.changes import Changes
from tagstack.domain.commands import PutImageTag
from tagstack.domain.errors import AlreadyExists, Fault, Invalid
from tagstack.domain.image_stream import Tag
from tagstack.domain.names import split_tag
from tagstack.domain.objects import StatusItem
from tagstack.domain.spec_tags import check_circle, check_version, put_spec, to_status
from tagstack.domain.stack import Entry
from tagstack.domain.times import canonical

UNCHANGEABLE = "may not update fields other than spec"


def put_image_tag(command: PutImageTag, changes: Changes, facts: lookups.Facts) -> None:
    """Create or replace the spec of one tag, or remove it; its history stays.

    Raises: AlreadyExists, Conflict, Invalid where anything but the spec differs from what is stored.
    """
    name, tag = split_tag(command.metadata.name)
    check_version(command.metadata.resource_version, changes, name)
    known = changes.tag(tag) if changes.exists else Tag("")
    if command.create_only and known.spec is not None:
        raise AlreadyExists.of("imagetags", command.metadata.name)
    if command.create_only or known.gone:
        if command.spec is None:
            fault = Fault("spec", "Required", "spec is a required field during creation")
            raise Invalid.of("ImageTag", command.metadata.name, [fault])
    else:
        _check_unchanged(command, changes, facts.stacks.get(tag, []))
    changes.create()
    if command.spec is not None:
        check_circle(tag, command.spec, changes, facts, "spec.from.name")
        if put_spec(tag, command.spec, changes):
            to_status(tag, changes, facts, "spec.from.name")
    elif known.spec is not None:
        changes.raise_generation()
        changes.configure(tag, None)
    changes.complete_generations()


def _check_unchanged(command: PutImageTag, changes: Changes, entries: list[Entry]) -> None:
    """Raise Invalid where what is sent back beside the spec is not what is stored; what is not sent claims nothing."""
    given, state = command.metadata, changes.state
    faults = []
    if given.labels not in (None, state.labels) or given.annotations not in (None, state.annotations):
        faults.append(Fault("metadata", "Invalid", UNCHANGEABLE, ""))
    if command.status is not None:
        current = [entry for entry in entries if not entry.deleted_after and entry.uid == changes.uid]
        items = command.status.items or []
        if len(items) != len(current) or not all(map(_same, items, current)):
            faults.append(Fault("status", "Invalid", UNCHANGEABLE, ""))
    if faults:
        raise Invalid.of("ImageTag", given.name, faults)


def _same(item: StatusItem, entry: Entry) -> bool:
    """Return whether an item that was sent back is an entry's, as far as it says."""
    head = entry.head
    try:
        created = canonical(item.created) if item.created else head.since
    except ValueError:
        return False
    generation = head.generation if item.generation is None else item.generation
    told = (created, item.image, item.docker_image_reference, generation)
    return told == (head.since, head.image, head.pull_spec, head.generation)
