"""The history stack: every image a tag ever pointed to, newest first, folded from its events."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tagstack.domain.errors import Conflict, NotFound
from tagstack.domain.events import Event, Head, ImageTagged, TagDeleted, TagEvent
from tagstack.domain.names import image_matches


class Entry(msgspec.Struct):
    """One entry of a history stack. `ended` is the time of the delete that ended it, if one did.

    `deleted_after` says that the tag was deleted after this entry, at whatever time.
    """

    head: Head
    uid: str
    ended: str | None = None
    deleted_after: bool = False


def push(stack: list[Entry], position: int, event: Event) -> None:
    """Fold one stored event into a stack that is kept oldest first."""
    if isinstance(event, ImageTagged) and event.head is not None:
        head = event.head if event.head.position else msgspec.structs.replace(event.head, position=position)
        if stack and not stack[-1].deleted_after and stack[-1].head.position == head.position:
            stack[-1].head = head
        else:
            stack.append(Entry(head, event.uid))
    elif isinstance(event, TagDeleted) and stack and not stack[-1].deleted_after:
        stack[-1].ended = event.time
        for entry in stack:
            entry.deleted_after = True


def fold(events: Iterable[tuple[int, Event]]) -> list[Entry]:
    """Return the history stack of one tag's events, newest entry first."""
    stack: list[Entry] = []
    for position, event in events:
        push(stack, position, event)
    stack.reverse()
    return stack


def fold_tags(events: Iterable[tuple[int, Event]]) -> dict[str, list[Entry]]:
    """Return the history stacks of every tag in an image stream's events, newest entry first."""
    stacks: dict[str, list[Entry]] = {}
    for position, event in events:
        if isinstance(event, TagEvent):
            push(stacks.setdefault(event.tag, []), position, event)
    for stack in stacks.values():
        stack.reverse()
    return stacks


def head_changed(old: str | None, new: str | None) -> tuple[bool, bool]:
    """Return whether a tag points elsewhere, and whether it points nowhere any more; None is no image."""
    return old != new, old is not None and new is None


def images(stacks: Iterable[list[Entry]]) -> dict[str, Entry]:
    """Return every image of some stacks with the newest entry that holds it."""
    found: dict[str, Entry] = {}
    for stack in stacks:
        for entry in stack:
            known = found.get(entry.head.image)
            if known is None or known.head.position < entry.head.position:
                found[entry.head.image] = entry
    found.pop("", None)
    return found


def resolve_image(known: dict[str, Entry], prefix: str) -> Entry:
    """Return the newest entry of the one image that `prefix` means.

    Raises: NotFound for none, Conflict naming the candidates for several. Source: ResolveImageID.
    """
    matching = sorted(image for image in known if image_matches(image, prefix))
    if not matching:
        raise NotFound.of("imagestreamimage", prefix)
    if len(matching) > 1:
        raise Conflict(f'multiple images match the prefix "{prefix}": {", ".join(matching)}')
    return known[matching[0]]
