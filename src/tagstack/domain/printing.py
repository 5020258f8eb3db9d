"""One line per tag, as OpenShift's printer has it: what kind of tag it is, its image, how often it moved.

Works on the ImageTag object of `views`, so that a client can print what it was sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.names import SplitError, parse_image_name, parse_tag_name


class TagRow(msgspec.Struct, frozen=True):
    """The columns NAME, TYPE, IMAGE, HISTORY, UPDATED; `history` None for no entry, `updated` a time or ""."""

    name: str
    type: str
    image: str
    history: int | None
    updated: str


def tag_row(image_tag: dict[str, Any]) -> TagRow:
    """Return the row of an ImageTag. Types are Tag, Ref, Scheduled, Track and Push."""
    spec, status = image_tag.get("spec"), image_tag.get("status") or {}
    kind, source, problem = _of_spec(spec) if spec else ("", "", "")
    items = status.get("items") or []
    updated = ""
    if items:
        kind, source, problem = _of_head(items[0], (spec or {}).get("generation") or 0, (kind, source, problem))
        updated = items[0].get("created") or ""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "ImportSuccess" and condition.get("status") == "False":
            problem = f"ImportFailed ({condition.get('reason', '')})"
        updated = max(updated, condition.get("lastTransitionTime") or "")
    name = (image_tag.get("metadata") or {}).get("name", "")
    return TagRow(name, kind, problem or source, len(items) or None, updated)


def _of_spec(spec: dict[str, Any]) -> tuple[str, str, str]:
    """Return a spec tag's type, its source, and what is wrong with it."""
    source = spec.get("from")
    if source is None:
        return "", "", ""
    kind = "Ref" if spec.get("reference") else "Tag"
    if (spec.get("importPolicy") or {}).get("scheduled"):
        kind = "Scheduled"
    name, namespace = source.get("name", ""), source.get("namespace", "")
    match source.get("kind"):
        case "DockerImage":
            return kind, name, ""
        case "ImageStreamImage":
            try:
                return kind, f"image/{parse_image_name(name)[1]}", ""
            except SplitError:
                return kind, "", "InvalidRefName"
        case "ImageStreamTag":
            told = f"istag {namespace}/{name}" if namespace else f"istag/{name}"
            return (kind if _names_image_stream(name) else "Track"), told, ""
    return kind, "", "InvalidRefKind"


def _names_image_stream(name: str) -> bool:
    try:
        parse_tag_name(name)
    except SplitError:
        return False
    return True


def _of_head(head: dict[str, Any], wanted: int, so_far: tuple[str, str, str]) -> tuple[str, str, str]:
    """Return type, source and problem with the top entry taken in; `wanted` is the spec's generation."""
    kind, source, problem = so_far
    generation = head.get("generation") or 0
    if wanted and generation and generation < wanted:
        problem = "Importing"
    elif head.get("image"):
        source = f"image/{head['image']}"
    elif head.get("dockerImageReference"):
        source = head["dockerImageReference"]
    if (source and not kind) or (kind != "Track" and wanted and generation > wanted):
        kind = "Push"
    return kind, source, problem
