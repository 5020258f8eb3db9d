"""Rollback: a tag points at an earlier image again, as one more entry on top of its history stack."""

from __future__ import annotations

from tagstack.domain import stack
from tagstack.domain.changes import Arrival, Changes
from tagstack.domain.commands import RollbackTag
from tagstack.domain.errors import NotFound
from tagstack.domain.lookups import Facts
from tagstack.domain.names import split_tag
from tagstack.domain.objects import RollbackTarget
from tagstack.domain.stack import Entry
from tagstack.domain.times import canonical


def rollback(command: RollbackTag, changes: Changes, facts: Facts) -> None:
    """Put the chosen entry on top again, and hold the tag unless told not to."""
    name, tag = split_tag(command.metadata.name)
    entries = facts.stacks.get(tag, [])
    if not entries:
        raise NotFound.of("imagestreamtags", f"{name}:{tag}")
    exists = changes.tag(tag).head is not None
    chosen = choose(command.to, entries, exists=exists)
    changes.create()
    # one event says both, the move and the hold: they happen together or not at all
    hold = changes.new_hold() if command.hold and changes.tag(tag).hold is None else None
    restores = chosen.head.restores or chosen.head.position
    changes.move(tag, Arrival(chosen.head.image, chosen.head.pull_spec, "rollback", restores=restores, hold=hold))
    if command.hold:
        changes.hold(tag)


def choose(to: RollbackTarget, entries: list[Entry], *, exists: bool) -> Entry:
    """Return the entry to go back to; `entries` is the history stack, newest first.

    `exists` says that the tag points at the top entry now; a deleted tag's first step is that entry.
    Raises: NotFound below the bottom or where nothing matches, Conflict for an ambiguous prefix.
    """
    if to.stack_position is not None:
        return _at(entries, to.stack_position - 1, f"stack position {to.stack_position}")
    if to.image is not None:
        return stack.resolve_image(stack.images([entries]), to.image)
    if to.time is not None:
        return _at_time(entries, canonical(to.time))
    steps = 1 if to.steps is None else to.steps
    from_top = _original(entries) + steps if exists else steps - 1
    if not exists and steps > 1:
        from_top = _original(entries) + steps - 1
    return _at(entries, from_top, f"{steps} step{'' if steps == 1 else 's'} back")


def _original(entries: list[Entry]) -> int:
    """Return the index of the entry that the top one restores; 0 where it restores none."""
    restored = entries[0].head.restores
    for index, entry in enumerate(entries):
        if entry.head.position == restored:
            return index
    return 0


def _at(entries: list[Entry], index: int, wanted: str) -> Entry:
    if index >= len(entries):
        raise NotFound(f"{wanted} is below the bottom of the history stack, which is {len(entries)} deep")
    return entries[index]


def _at_time(entries: list[Entry], time: str) -> Entry:
    for entry in entries:
        if entry.head.since <= time:
            if entry.ended is not None and entry.ended <= time:
                break
            return entry
    raise NotFound(f"the tag pointed at no image at {time}")
