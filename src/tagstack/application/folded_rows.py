"""Rows that one event alone tells: of `events`, `tag_changes`, and what an image consists of.

What an image's metadata holds is any JSON; it is handed on as text, and read by whoever compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from tagstack.application.records import Record
from tagstack.domain.events import Event, ImageRecorded, ImageTagged, TagDeleted, TagEvent, TagHeld, TagReleased

Row = dict[str, Any]


def event_row(record: Record, event: Event) -> Row:
    """Return the row of `events`."""
    row: Row = {
        "position": record.position,
        "type": event.__struct_config__.tag,
        "body": hashlib.md5(record.body, usedforsecurity=False).hexdigest(),
        "time": event.time,
        "origin": event.origin,
        "actor": event.actor,
        "reason": event.reason,
        "cause": event.cause,
        "caused_by": event.caused_by,
    }
    for field in ("namespace", "image_stream", "tag", "image", "previous_image", "pull_spec", "generation"):
        row[field] = getattr(event, field, None)
    return row


def dead_letter_row(record: Record) -> Row:
    """Return the row of `dead_letters`, without its words."""
    payload = record.body.decode(errors="backslashreplace")
    return {"position": record.position, "subject": record.subject, "payload": payload}


def change_rows(event: TagEvent, position: int) -> Iterator[Row]:
    """Return the row of `tag_changes`, if the event has one."""
    if not isinstance(event, ImageTagged | TagDeleted | TagHeld | TagReleased):
        return
    head, hold = event.head, event.hold
    row: Row = {"namespace": event.namespace, "image_stream": event.image_stream, "tag": event.tag}
    row |= {"position": position, "time": event.time, "type": event.__struct_config__.tag}
    row |= {"is_entry": isinstance(event, ImageTagged) and event.image != event.previous_image}
    row |= {"entry_position": (head.position or position) if head else None}
    row |= {"image": event.image, "pull_spec": event.pull_spec}
    for field in ("generation", "since", "origin", "actor", "reason", "cause", "caused_by", "restores"):
        row[field] = getattr(head, field, None)
    yield row | {"held_since": getattr(hold, "since", None), **holder(hold)}


def holder(hold: Any) -> Row:
    """Return who holds a tag and why; nulls where nobody does."""
    return {"held_by": getattr(hold, "actor", None), "hold_reason": getattr(hold, "reason", None)}


def image_row(event: ImageRecorded, position: int) -> Row:
    """Return the row of `images`, what is no plain text as JSON."""
    data = event.data
    meta = _object(data.get("dockerImageMetadata"))
    config = _object(meta.get("Config"))
    layers = data.get("dockerImageLayers")
    row: Row = {"image": event.image, "first_seen": event.time, "position": position}
    row |= {"pull_spec": _text(data.get("dockerImageReference"))}
    row |= {"media_type": _text(data.get("dockerImageManifestMediaType"))}
    for column, key in (("architecture", "Architecture"), ("os", "Os"), ("created", "Created"), ("size", "Size")):
        row[column] = _text(meta.get(key))
    for column, key in (("labels", "Labels"), ("env", "Env"), ("entrypoint", "Entrypoint"), ("cmd", "Cmd")):
        row[column] = _json(config[key]) if key in config else None
    row["config"] = _json(meta["Config"]) if "Config" in meta else None
    return row | {"layers": len(layers) if isinstance(layers, list) else 0}


def layer_rows(event: ImageRecorded) -> Iterator[Row]:
    """Return the rows of `image_layers`."""
    for ordinal, layer in enumerate(map(_object, _list(event.data.get("dockerImageLayers"))), 1):
        row = {"image": event.image, "ordinal": ordinal, "layer": _text(layer.get("name"))}
        yield row | {"size": _text(layer.get("size")), "media_type": _text(layer.get("mediaType"))}


def manifest_rows(event: ImageRecorded) -> Iterator[Row]:
    """Return the rows of `image_manifests`."""
    for child in map(_object, _list(event.data.get("dockerImageManifests"))):
        row = {"image": event.image, "child": _text(child.get("digest")), "size": _text(child.get("manifestSize"))}
        yield row | {name: _text(child.get(name)) for name in ("architecture", "os", "variant")}


def pairs(values: dict[str, str]) -> str:
    """Return a map as text, in an order of its own."""
    return json.dumps(sorted(values.items()), ensure_ascii=False, separators=(",", ":"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)
