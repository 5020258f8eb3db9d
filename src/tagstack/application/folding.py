"""Folds the log in Python into the rows that the read models have to show; SQL has no part in it.

Closed entries of history stacks are handed on at once, so memory follows the tags, not their history.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from tagstack.application import folded_rows
from tagstack.application.folded_rows import Row
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
    PushWithheld,
    TagConfigured,
    TagDeleted,
    TagEvent,
)

Name = tuple[str, str]
# every read model, in the order in which they are told of
RELATIONS = (
    *("events", "current_tags", "tag_history", "image_streams", "images", "image_layers", "image_manifests"),
    *("rollbacks", "holds", "churn_per_day", "tag_lead_time", "tags_as_of", "tag_stack", "where_used"),
    *("tag_changes", "tag_moves", "dead_letters", "checkpoint"),
)


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
    held: Row = {}  # the hold that has not ended, as far as it has come


class _Stream(msgspec.Struct):
    """An image stream after its last event."""

    own: ImageStreamEvent | None = None
    generation: int = 0
    updated: str = ""
    deleted: str | None = None
    deleted_at: int = 0
    tags: dict[str, _Tag] = {}


class Folding:
    """Sees every message in order and writes what the relations have to hold; without `past`, what is so at the end."""

    def __init__(self, rows: Rows, *, past: bool = True) -> None:
        self._rows = rows
        self._past = past
        self._streams: dict[Name, _Stream] = {}

    def see(self, record: Record, event: Event | None) -> None:
        """Fold the next message; `event` is None where it is none."""
        if event is None:
            self._rows.add("dead_letters", folded_rows.dead_letter_row(record))
            return
        self._rows.add("events", folded_rows.event_row(record, event))
        if isinstance(event, ImageRecorded):
            self._rows.add("recorded", folded_rows.image_row(event, record.position))
            for row in folded_rows.layer_rows(event):
                self._rows.add("image_layers", row)
            for row in folded_rows.manifest_rows(event):
                self._rows.add("image_manifests", row)
        elif isinstance(event, TagEvent):
            for row in folded_rows.change_rows(event, record.position):
                self._rows.add("tag_changes", row)
        self.follow(event, record.position)

    def follow(self, event: Event, position: int) -> None:
        """Fold what an event does to its image stream, and no row of the event itself."""
        if isinstance(event, ImageStreamEvent):
            self._of_stream(event, position)
        elif isinstance(event, TagEvent):
            self._of_tag(event, position)

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

    def _of_tag(self, event: TagEvent, position: int) -> None:
        stream = self._streams.setdefault((event.namespace, event.image_stream), _Stream())
        if isinstance(event, TagConfigured | TagDeleted):
            stream.updated = max(stream.updated, event.time)
        stream.generation = max(stream.generation, event.generation)
        tag = stream.tags.setdefault(event.tag, _Tag())
        if not isinstance(event, TagConfigured | PushWithheld):
            self._hold(event, tag)
        self._move(event, tag, position)

    def _hold(self, event: TagEvent, tag: _Tag) -> None:
        hold = event.hold
        if tag.held and tag.held["held_from"] != (hold.since if hold else None):
            self._rows.add("holds", tag.held | {"held_to": event.time})
            tag.held = {}
        if hold:
            told: Row = {"namespace": event.namespace, "image_stream": event.image_stream, "tag": event.tag}
            told |= {"image": event.image, "held_from": hold.since, "held_to": None}
            tag.held = told | {"actor": hold.actor, "reason": hold.reason}

    def _move(self, event: TagEvent, tag: _Tag, position: int) -> None:
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
        if not self._past:
            return
        head = entry.head
        row: Row = {
            "namespace": name[0],
            "image_stream": name[1],
            "tag": tag,
            "number": entry.number,
            "image": head.image,
            "pull_spec": head.pull_spec,
            "generation": head.generation,
            "valid_from": head.since,
            "valid_to": until,
            "origin": head.origin,
            "actor": head.actor,
            "reason": head.reason,
            "cause": head.cause,
            "caused_by": head.caused_by,
            "restores": head.restores,
            "position": entry.position,
        }
        self._rows.add("entries", row)

    def _end_of_tag(self, name: Name, tag: str, stream: _Stream, known: _Tag) -> None:
        if known.top is not None:
            self._entry(name, tag, known.top, stream.deleted)
        named: Row = {"namespace": name[0], "image_stream": name[1], "tag": tag}
        if known.held:
            self._rows.add("holds", known.held | {"held_to": stream.deleted})
        deleted = known.ended if known.top is None else stream.deleted
        if known.moves:
            self._rows.add("stacks", named | {"moves": known.moves, "deleted": deleted})
        head, hold = known.head, known.hold
        if head is None or not head.image or known.position < stream.deleted_at:
            return
        told = {"image": head.image, "pull_spec": head.pull_spec, "generation": head.generation}
        told |= {"since": head.since, "actor": head.actor, "reason": head.reason, "origin": head.origin}
        held = {"held_since": hold.since if hold else None, **folded_rows.holder(hold)}
        self._rows.add("current_tags", named | told | held | {"moves": known.moves, "position": _made(known)})


class AsOf:
    """Folds the events up to a moment, for what `tags_as_of` has to answer."""

    def __init__(self, rows: Rows, time: str) -> None:
        self.time = time
        self._rows = rows
        self._folding = Folding(self, past=False)

    def see(self, record: Record, event: Event | None) -> None:
        """Fold the next message."""
        if event is not None and event.time <= self.time:
            self._folding.follow(event, record.position)

    def end(self) -> None:
        """Write the tags as they were."""
        self._folding.end()

    def add(self, relation: str, row: Row) -> None:
        """Take a row of the fold."""
        if relation == "current_tags":
            self._rows.add("tags_as_of", row)


def _made(tag: _Tag) -> int:
    """Return the position of the event that made the head's entry."""
    return (tag.head.position if tag.head else 0) or tag.position


def _stream_row(name: Name, stream: _Stream, own: ImageStreamEvent) -> Row:
    told: Row = {"namespace": name[0], "image_stream": name[1], "uid": own.uid, "generation": stream.generation}
    told |= {
        "labels": folded_rows.pairs(own.labels),
        "annotations": folded_rows.pairs(own.annotations),
        "lookup_local": own.lookup_local,
    }
    return told | {"created": own.created, "updated": stream.updated, "deleted": stream.deleted}
