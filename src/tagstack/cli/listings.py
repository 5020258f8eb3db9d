"""Objects as tables, in the columns of OpenShift's printer, and beside them who holds a tag."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from tagstack.cli.output import NOTHING

TAGS_SHOWN_MAX = 3
_AGES = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))

Object = dict[str, Any]


class Listing(msgspec.Struct, frozen=True):
    """The columns of a kind and the values of one object; `wide` columns come last."""

    columns: tuple[str, ...]
    wide: tuple[str, ...]
    values: Callable[[Object], list[Any]]

    def head(self, *, wide: bool, namespaced: bool) -> list[str]:
        """Return the columns."""
        return [*(["NAMESPACE"] if namespaced else []), *self.columns, *(self.wide if wide else ())]

    def row(self, found: Object, *, wide: bool, namespaced: bool) -> list[Any]:
        """Return the values of one object."""
        values = self.values(found)
        shown = values if wide else values[: len(self.columns)]
        return [*([found["metadata"].get("namespace")] if namespaced else []), *shown]


def age(time: str | None) -> str:
    """Return how long ago a time was, roughly."""
    if not time:
        return NOTHING
    past = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    for size, unit in _AGES:
        if past >= size:
            count = int(past // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "now"


def updated(image_stream: Object) -> str:
    """Return when an image stream's tags last moved; when it was created where none did."""
    tags = (image_stream.get("status") or {}).get("tags") or []
    times = [item["created"] for tag in tags for item in tag.get("items") or []]
    return max(times, default=image_stream["metadata"].get("creationTimestamp") or "")


def holder(hold: Object | None) -> str:
    """Return who holds a tag and why."""
    if not hold:
        return NOTHING
    return f"{hold['actor']}: {hold['reason']}" if hold.get("reason") else str(hold["actor"])


def _image_stream(found: Object) -> list[Any]:
    from tagstack.domain.tag_order import prioritized

    meta, status = found["metadata"], found.get("status") or {}
    tags = prioritized(tag["tag"] for tag in status.get("tags") or [])
    shown = ",".join(tags[:TAGS_SHOWN_MAX])
    if len(tags) > TAGS_SHOWN_MAX:
        shown += f" + {len(tags) - TAGS_SHOWN_MAX} more..."
    held = sum(1 for tag in status.get("tags") or [] if tag.get("hold"))
    repository = status.get("dockerImageRepository") or ""
    return [meta["name"], repository, shown, age(updated(found)), meta.get("generation"), held, meta.get("uid")]


def _image_stream_tag(found: Object) -> list[Any]:
    meta, entry = found["metadata"], found.get("entry") or {}
    image = entry.get("image") or ((found.get("image") or {}).get("metadata") or {}).get("name")
    return [
        meta["name"],
        entry.get("dockerImageReference") or (found.get("image") or {}).get("dockerImageReference"),
        age(meta.get("creationTimestamp")),
        holder(found.get("hold")),
        image,
        entry.get("actor"),
        entry.get("origin"),
        entry.get("reason"),
    ]


def _image_tag(found: Object) -> list[Any]:
    from tagstack.domain.printing import tag_row

    row = tag_row(found)
    history = NOTHING if row.history is None else row.history
    return [row.name, row.type, row.image, history, age(row.updated), holder(found.get("hold"))]


def _image_stream_image(found: Object) -> list[Any]:
    meta, image = found["metadata"], found.get("image") or {}
    return [
        meta["name"],
        image.get("dockerImageReference"),
        age(meta.get("creationTimestamp")),
        (image.get("metadata") or {}).get("name"),
    ]


def _image(found: Object) -> list[Any]:
    return [found["metadata"]["name"], found.get("dockerImageReference"), age(found["metadata"]["creationTimestamp"])]


LISTINGS = {
    "ImageStream": Listing(
        ("NAME", "IMAGE REPOSITORY", "TAGS", "UPDATED"), ("GENERATION", "HELD TAGS", "UID"), _image_stream
    ),
    "ImageStreamTag": Listing(
        ("NAME", "IMAGE REFERENCE", "UPDATED", "HELD BY"),
        ("IMAGE NAME", "ACTOR", "ORIGIN", "REASON"),
        _image_stream_tag,
    ),
    "ImageTag": Listing(("NAME", "TYPE", "IMAGE", "HISTORY", "UPDATED"), ("HELD BY",), _image_tag),
    "ImageStreamImage": Listing(("NAME", "IMAGE REFERENCE", "UPDATED"), ("IMAGE NAME",), _image_stream_image),
    "Image": Listing(("NAME", "IMAGE REFERENCE"), ("RECORDED",), _image),
}
