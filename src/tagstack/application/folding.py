"""Folds the log in Python into the rows that the read models have to show; SQL has no part in it.

Closed entries of history stacks are handed on at once, so memory follows the tags, not their history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from tagstack.application.records import Record
from tagstack.domain.events import (
    Event,
    Head,
    Hold,
    ImageRecorded,
    ImageStreamCreated,
    ImageStreamDeleted,
    ImageStreamEvent,
    ImageTagged,
    TagConfigured,
    TagDeleted,
    TagEvent,
)

Row = dict[str, Any]
Name = tuple[str, str]


class Rows(Protocol):
    """Takes the rows of relations."""

    def add(self, relation: str, row: Row) -> None:
        """Take one row."""
        ...


class _Entry(msgspec.Struct):
    """The top entry of a tag's history stack."""

    head: Head
    position: int
    number: int  # counted from the bottom


class _Tag(msgspec.Struct):
    """A tag after its last event; `ended` is when its last entry was deleted."""

    top: _Entry | None = None
    head: Head | None = None
    hold: Hold | None = None
    moves: int = 0
    ended: str | None = None
    position: int = 0


class _Stream(msgspec.Struct):
    """An image stream after its last event."""

    own: ImageStreamEvent | None = None
    generation: int = 0
    updated: str = ""
    deleted: str | None = None
    deleted_at: int = 0
    tags: dict[str, _Tag] = {}


class Folding:
    """Sees every event in order and writes what the relations have to hold."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._streams: dict[Name, _Stream] = {}

    def see(self, record: Record, event: Event) -> None:
        """Fold the next event."""
        self._rows.add("events", _event_row(record, event))
        if isinstance(event, ImageRecorded):
            row = {"image": event.image, "first_seen": event.time, "position": record.position}
            self._rows.add("images", row)
        elif isinstance(event, ImageStreamEvent):
            self._of_stream(event, record.position)
        elif isinstance(event, TagEvent):
            stream = self._streams.setdefault((event.namespace, event.image_stream), _Stream())
            if isinstance(event, TagConfigured | TagDeleted):
                stream.updated = max(stream.updated, event.time)
            stream.generation = max(stream.generation, event.generation)
            self._of_tag(event, stream.tags.setdefault(event.tag, _Tag()), record.position)

    def end(self) -> None:
        """Write what only the end of the log tells."""
        for name, stream in self._streams.items():
            if stream.own is not None:
                self._rows.add("image_streams", _stream_row(name, stream, stream.own))
            for tag, known in stream.tags.items():
                self._end_of_tag(name, tag, stream, known)

    def _of_stream(self, event: ImageStreamEvent, position: int) -> None:
        stream = self._streams.setdefault((event.namespace, event.image_stream), _Stream())
        if isinstance(event, ImageStreamCreated):
            stream.generation = 0
        stream.own = event
        stream.generation = max(stream.generation, event.generation)
        stream.updated = max(stream.updated, event.time)
        stream.deleted = event.time if isinstance(event, ImageStreamDeleted) else None
        stream.deleted_at = position if isinstance(event, ImageStreamDeleted) else stream.deleted_at

    def _of_tag(self, event: TagEvent, tag: _Tag, position: int) -> None:
        tag.head, tag.hold, tag.position = event.head, event.hold, position
        if isinstance(event, TagDeleted):
            self._close(event, tag, event.time)
            tag.ended = event.time
        elif isinstance(event, ImageTagged) and event.head is not None:
            if event.image != event.previous_image:
                self._close(event, tag, event.time)
                tag.moves += 1
                tag.top = _Entry(event.head, position, tag.moves)
                tag.ended = None
            elif tag.top is not None:
                tag.top.head = event.head

    def _close(self, event: TagEvent, tag: _Tag, until: str) -> None:
        if tag.top is not None:
            self._entry((event.namespace, event.image_stream), event.tag, tag.top, until)
            tag.top = None

    def _entry(self, name: Name, tag: str, entry: _Entry, until: str | None) -> None:
        head = entry.head
        told: Row = {"namespace": name[0], "image_stream": name[1], "tag": tag, "number": entry.number}
        told |= {"image": head.image, "pull_spec": head.pull_spec, "generation": head.generation}
        told |= {"valid_from": head.since, "valid_to": until, "origin": head.origin, "actor": head.actor}
        told |= {"reason": head.reason, "cause": head.cause, "caused_by": head.caused_by}
        self._rows.add("entries", told | {"restores": head.restores, "position": entry.position})

    def _end_of_tag(self, name: Name, tag: str, stream: _Stream, known: _Tag) -> None:
        if known.top is not None:
            self._entry(name, tag, known.top, stream.deleted)
        named: Row = {"namespace": name[0], "image_stream": name[1], "tag": tag}
        deleted = known.ended if known.top is None else stream.deleted
        self._rows.add("stacks", named | {"entries": known.moves, "deleted": deleted})
        head, hold = known.head, known.hold
        if head is None or not head.image or known.position < stream.deleted_at:
            return
        told = {"image": head.image, "pull_spec": head.pull_spec, "generation": head.generation}
        told |= {"since": head.since, "actor": head.actor, "reason": head.reason, "origin": head.origin}
        held = {"held_since": hold.since, "held_by": hold.actor, "hold_reason": hold.reason} if hold else _FREE
        self._rows.add("current_tags", named | told | held | {"moves": known.moves, "position": _made(known)})


_FREE = dict.fromkeys(("held_since", "held_by", "hold_reason"))


def _made(tag: _Tag) -> int:
    """Return the position of the event that made the head's entry."""
    return (tag.head.position if tag.head else 0) or tag.position


def _stream_row(name: Name, stream: _Stream, own: ImageStreamEvent) -> Row:
    told: Row = {"namespace": name[0], "image_stream": name[1], "uid": own.uid, "generation": stream.generation}
    told |= {"labels": _pairs(own.labels), "annotations": _pairs(own.annotations), "lookup_local": own.lookup_local}
    return told | {"created": own.created, "updated": stream.updated, "deleted": stream.deleted}


def _pairs(values: dict[str, str]) -> str:
    return json.dumps(sorted(values.items()), ensure_ascii=False, separators=(",", ":"))


def _event_row(record: Record, event: Event) -> Row:
    fields = ("time", "origin", "actor", "reason", "cause", "caused_by")
    told = {field: getattr(event, field) for field in fields}
    for field in ("namespace", "image_stream", "tag", "image", "previous_image", "pull_spec", "generation"):
        told[field] = getattr(event, field, None)
    body = hashlib.md5(record.body, usedforsecurity=False).hexdigest()
    return {"position": record.position, "type": event.__struct_config__.tag, "body": body} | told


def relations() -> Iterator[str]:
    """Return what is folded, under the names of the contract."""
    yield from ("events", "current_tags", "tag_history", "image_streams", "images")
