"""What every read model must hold, folded from a history in plain Python with the domain's own rules."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tagstack.domain import rows as domain_rows
from tagstack.domain import stack
from tagstack.domain.events import (
    Event,
    ImageRecorded,
    ImageStreamDeleted,
    ImageStreamEvent,
    TagConfigured,
    TagDeleted,
)
from tagstack.domain.image_stream import ImageStream, evolve
from tagstack.domain.names import ImageStreamName, image_matches
from tagstack.domain.stack import Entry
from tests.property.histories import History, stream_of

Row = dict[str, Any]
Rows = list[Row]
_TOLD = ("time", "namespace", "image_stream", "tag", "image", "previous_image", "pull_spec", "generation")


def time_of(text: str | None) -> datetime | None:
    """Return a time of an event as DuckDB hands out a TIMESTAMP."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def by_image_stream(history: History) -> dict[ImageStreamName, History]:
    """Return each image stream's own events."""
    found: dict[ImageStreamName, History] = defaultdict(list)
    for position, event in history:
        if name := stream_of(event):
            found[name].append((position, event))
    return found


def states(history: History) -> dict[ImageStreamName, ImageStream]:
    """Return the state of every image stream."""
    found: dict[ImageStreamName, ImageStream] = {}
    for name, stored in by_image_stream(history).items():
        found[name] = state = ImageStream(name)
        for position, event in stored:
            evolve(state, event, position)
    return found


def events(history: History) -> Rows:
    """The relation `events`, without `data`."""
    return [
        {"position": position, "type": event.__struct_config__.tag}
        | {field: getattr(event, field, None) for field in _TOLD}
        | {field: getattr(event, field) for field in ("origin", "actor", "reason", "cause", "caused_by")}
        | {"time": time_of(event.time)}
        for position, event in history
    ]


def current_tags(history: History) -> Rows:
    """The relation `current_tags`."""
    rows: Rows = []
    stacks = _stacks(history)
    for name, state in states(history).items():
        for tag, known in state.tags.items() if state.exists else ():
            head, hold = known.head, known.hold
            if head is None or head.image == "":
                continue
            row = {"namespace": name.namespace, "image_stream": name.name, "tag": tag}
            row |= {field: getattr(head, field) for field in ("image", "pull_spec", "generation", "actor", "reason")}
            row |= {"origin": head.origin, "since": time_of(head.since), "position": head.position}
            row |= {"held_since": time_of(hold.since) if hold else None, "held_by": hold.actor if hold else None}
            row |= {"hold_reason": hold.reason if hold else None, "moves": len(stacks[name, tag])}
            rows.append(row)
    return rows


def tags_as_of(history: History, time: str) -> Rows:
    """The macro `tags_as_of`: the tags of a history that ends at `time`."""
    return current_tags([stored for stored in history if stored[1].time <= time])


def _stacks(history: History) -> dict[tuple[ImageStreamName, str], list[Entry]]:
    return {
        (name, tag): entries
        for name, stored in by_image_stream(history).items()
        for tag, entries in stack.fold_tags(stored).items()
    }


def tag_history(history: History) -> Rows:
    """The relation `tag_history`."""
    rows: Rows = []
    for (name, tag), entries in _stacks(history).items():
        state = states(history)[name]
        gone = None
        if entries and (not state.exists or state.tag(tag).head is None):
            gone = entries[0].ended or state.time
        rows += domain_rows.history_rows(name.name, name.namespace, tag, entries, gone)
    for row in rows:
        row |= {field: time_of(row[field]) for field in ("valid_from", "valid_to", "deleted")}
    return rows


def image_streams(history: History) -> Rows:
    """The relation `image_streams`."""
    rows: Rows = []
    for name, state in states(history).items():
        own = by_image_stream(history)[name]
        said = [event for _, event in own if isinstance(event, ImageStreamEvent | TagConfigured | TagDeleted)]
        deleted = state.last_event if isinstance(state.last_event, ImageStreamDeleted) else None
        rows.append(
            {"namespace": name.namespace, "image_stream": name.name, "uid": state.uid, "generation": state.generation}
            | {"labels": state.labels, "annotations": state.annotations, "lookup_local": state.lookup_local}
            | {"created": time_of(state.created), "updated": time_of(said[-1].time)}
            | {"deleted": time_of(deleted.time) if deleted else None}
        )
    return rows


def _recorded(history: History) -> list[tuple[int, ImageRecorded]]:
    return [(position, event) for position, event in history if isinstance(event, ImageRecorded)]


def images(history: History) -> Rows:
    """The relation `images`, without `config`."""
    rows: Rows = []
    for position, event in _recorded(history):
        meta: dict[str, Any] = event.data.get("dockerImageMetadata") or {}
        config: dict[str, Any] = meta.get("Config") or {}
        rows.append(
            {"image": event.image, "pull_spec": event.data.get("dockerImageReference")}
            | {"media_type": event.data.get("dockerImageManifestMediaType")}
            | {"architecture": meta.get("Architecture"), "os": meta.get("Os"), "created": time_of(meta.get("Created"))}
            | {"size": meta.get("Size"), "layers": len(event.data.get("dockerImageLayers", []))}
            | {"labels": config.get("Labels", {}), "env": config.get("Env", []), "cmd": config.get("Cmd", [])}
            | {"entrypoint": config.get("Entrypoint", []), "first_seen": time_of(event.time), "position": position}
        )
    return rows


def image_layers(history: History) -> Rows:
    """The relation `image_layers`."""
    return [
        {"image": event.image, "ordinal": ordinal, "layer": layer["name"], "size": layer["size"]}
        | {"media_type": layer["mediaType"]}
        for _, event in _recorded(history)
        for ordinal, layer in enumerate(event.data.get("dockerImageLayers", []), 1)
    ]


def image_manifests(history: History) -> Rows:
    """The relation `image_manifests`."""
    return [
        {"image": event.image, "child": child["digest"], "architecture": child.get("architecture")}
        | {"os": child.get("os"), "variant": child.get("variant"), "size": child.get("manifestSize")}
        for _, event in _recorded(history)
        for child in event.data.get("dockerImageManifests", [])
    ]


def rollbacks(history: History) -> Rows:
    """The view `rollbacks`: an entry whose image the tag held before, and what it left for it."""
    found: Rows = []
    rows = sorted(tag_history(history), key=lambda row: row["position"])
    before: dict[tuple[str, ...], Rows] = defaultdict(list)
    for row in rows:
        earlier = before[row["namespace"], row["image_stream"], row["tag"]]
        held = any(row["image"] == other["image"] for other in earlier)
        if held and row["image"] and earlier[-1]["image"] != row["image"]:
            left = earlier[-1]
            found.append(row | {"bad_image": left["image"], "bad_for": left["valid_to"] - left["valid_from"]})
        earlier.append(row)
    return found


def where_used(history: History, image: str) -> Rows:
    """The macro `where_used`, without `held_for`."""
    times: dict[tuple[str, ...], list[datetime]] = defaultdict(list)
    for row in tag_history(history):
        if row["image"] and image_matches(row["image"], image):
            times[row["namespace"], row["image_stream"], row["tag"]].append(row["valid_from"])
    return [
        {"namespace": tag[0], "image_stream": tag[1], "tag": tag[2]}
        | {"first": min(held), "last": max(held), "times": len(held)}
        for tag, held in times.items()
    ]


def holds(history: History) -> Rows:
    """The view `holds`: from the event that brings a hold to the one that ends it."""
    rows: Rows = []
    for name, own in by_image_stream(history).items():
        state = ImageStream(name)
        current: dict[str, Row] = {}
        for position, event in own:
            evolve(state, event, position)
            for tag in [*state.tags, *(current.keys() - state.tags)]:
                known = state.tag(tag)
                held = known.hold if state.exists else None
                if held:
                    if tag not in current:
                        rows.append({"namespace": name.namespace, "image_stream": name.name, "tag": tag})
                        current[tag] = rows[-1]
                    current[tag] |= {"image": known.head.image if known.head else None, "actor": held.actor}
                    current[tag] |= {"reason": held.reason, "held_from": time_of(held.since)}
                    current[tag] |= {"held_to": None, "held_for": None}
                elif ended := current.pop(tag, None):
                    ended["held_to"] = time_of(event.time)
                    ended["held_for"] = ended["held_to"] - ended["held_from"]
    return rows


def churn_per_day(history: History) -> Rows:
    """The view `churn_per_day`."""
    moved: dict[tuple[Any, str], Rows] = defaultdict(list)
    for row in tag_history(history):
        moved[row["valid_from"].date(), row["namespace"]].append(row)
    return [
        {"day": day, "namespace": namespace, "moves": len(rows)}
        | {"tags": len({(row["image_stream"], row["tag"]) for row in rows})}
        | {"image_streams": len({row["image_stream"] for row in rows})}
        for (day, namespace), rows in moved.items()
    ]


def tag_lead_time(history: History) -> Rows:
    """The view `tag_lead_time`."""
    arrived: dict[str, dict[tuple[str, ...], datetime]] = defaultdict(dict)
    for row in sorted(tag_history(history), key=lambda row: row["position"]):
        if row["image"]:
            tag = row["namespace"], row["image_stream"], row["tag"]
            arrived[row["image"]].setdefault(tag, row["valid_from"])
    return [
        {"image": image, "namespace": tag[0], "image_stream": tag[1], "tag": tag[2]}
        | {"first_tagged": min(tags.values()), "arrived": time, "lead": time - min(tags.values())}
        for image, tags in arrived.items()
        for tag, time in tags.items()
    ]


def seconds(value: timedelta) -> float:
    """Return an interval in seconds."""
    return value.total_seconds()


def data_of(event: Event) -> Any:
    """Return an event as the JSON that `events.data` holds."""
    return msgspec.json.decode(msgspec.json.encode(event))


RELATIONS = {
    fold.__name__: fold
    for fold in (
        *(events, current_tags, tag_history, image_streams, images, image_layers, image_manifests),
        *(rollbacks, holds, churn_per_day, tag_lead_time),
    )
}
