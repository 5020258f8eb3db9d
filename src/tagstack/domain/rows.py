"""Rows of the SQL relations `tag_history` and `tags_as_of`, folded from the log itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tagstack.domain.events import Event, ImageTagged
from tagstack.domain.image_stream import ImageStream, evolve
from tagstack.domain.names import ImageStreamName
from tagstack.domain.stack import Entry


def history_rows(name: str, namespace: str, tag: str, entries: list[Entry], gone: str | None) -> list[dict[str, Any]]:
    """Return the rows of the SQL relation `tag_history` of one tag, newest first.

    `gone` is when the tag was deleted, None where it exists.
    """
    rows = []
    newer: str | None = None
    for stack_position, entry in enumerate(entries, 1):
        head = entry.head
        ends = [time for time in (newer, entry.ended) if time is not None]
        if stack_position == 1 and gone is not None and not ends:
            ends = [gone]
        rows.append(
            {
                "namespace": namespace,
                "image_stream": name,
                "tag": tag,
                "stack_position": stack_position,
                "image": head.image,
                "pull_spec": head.pull_spec,
                "generation": head.generation,
                "valid_from": head.since,
                "valid_to": min(ends) if ends else None,
                "origin": head.origin,
                "actor": head.actor,
                "reason": head.reason,
                "cause": head.cause,
                "caused_by": head.caused_by,
                "restores": head.restores,
                "deleted": gone,
                "position": head.position,
            }
        )
        newer = head.since
    return rows


def as_of_rows(name: ImageStreamName, events: Iterable[tuple[int, Event]], time: str) -> list[dict[str, Any]]:
    """Return the rows of one image stream's tags as they were at `time`, in the order of their names."""
    state = ImageStream(name)
    moves: dict[str, int] = {}
    for position, event in events:
        if event.time > time:
            break
        evolve(state, event, position)
        if isinstance(event, ImageTagged) and event.image != event.previous_image:
            moves[event.tag] = moves.get(event.tag, 0) + 1
    return [_current(state, tag, moves.get(tag, 0)) for tag in sorted(state.tags) if _points(state, tag)]


def _points(state: ImageStream, tag: str) -> bool:
    head = state.tags[tag].head
    return state.exists and head is not None and bool(head.image)


def _current(state: ImageStream, tag: str, moves: int) -> dict[str, Any]:
    head, held = state.tags[tag].head, state.tags[tag].hold
    assert head is not None, "only tags that point at an image have a row"
    return {
        "namespace": state.name.namespace,
        "image_stream": state.name.name,
        "tag": tag,
        "image": head.image,
        "pull_spec": head.pull_spec,
        "generation": head.generation,
        "since": head.since,
        "actor": head.actor,
        "reason": head.reason,
        "origin": head.origin,
        "held_since": held.since if held else None,
        "held_by": held.actor if held else None,
        "hold_reason": held.reason if held else None,
        "moves": moves,
        "position": head.position,
    }
