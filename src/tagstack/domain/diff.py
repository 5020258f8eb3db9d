"""What differs: between two images, and between the tags of two moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tagstack.domain.stack import head_changed

TagKey = tuple[str, str, str]  # namespace, image stream, tag


class Change(msgspec.Struct, frozen=True):
    """One thing that differs; None where it was not there before, or is not there after."""

    old: Any = None
    new: Any = None


class LayerChanges(msgspec.Struct, frozen=True):
    """Digests of layers that both images have, that only the new one, and that only the old one has, in order."""

    shared: list[str]
    new: list[str]
    gone: list[str]


class ImageChanges(msgspec.Struct, rename="camel", frozen=True):
    """What differs between two images; `labels` and `env` hold what differs only. Sizes in bytes.

    `entrypoint` and `cmd` are None where they are the same.
    """

    image: Change
    labels: dict[str, Change]
    env: dict[str, Change]
    entrypoint: Change | None
    cmd: Change | None
    layers: LayerChanges
    size: Change


class Move(msgspec.Struct, frozen=True):
    """A tag that points elsewhere; `previous_image` None for a new tag, `image` None for a deleted one."""

    namespace: str
    image_stream: str
    tag: str
    previous_image: str | None
    image: str | None


def image_changes(old: dict[str, Any], new: dict[str, Any]) -> ImageChanges:
    """Return what differs between two Image objects."""
    before, after = _config(old), _config(new)
    return ImageChanges(
        image=Change(old["metadata"]["name"], new["metadata"]["name"]),
        labels=_changed(before.get("Labels") or {}, after.get("Labels") or {}),
        env=_changed(_variables(before.get("Env")), _variables(after.get("Env"))),
        entrypoint=_change(before.get("Entrypoint"), after.get("Entrypoint")),
        cmd=_change(before.get("Cmd"), after.get("Cmd")),
        layers=_layers(old, new),
        size=Change(_size(old), _size(new)),
    )


def moves(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[Move]:
    """Return the tags that point elsewhere in the second of two sets of rows of current tags, in order."""
    before, after = _by_tag(old), _by_tag(new)
    found = []
    for key in sorted({*before, *after}):
        previous, image = before.get(key), after.get(key)
        if head_changed(previous, image)[0]:
            found.append(Move(*key, previous_image=previous, image=image))
    return found


def _by_tag(rows: Iterable[dict[str, Any]]) -> dict[TagKey, str]:
    return {(row["namespace"], row["image_stream"], row["tag"]): row["image"] for row in rows}


def _config(image: dict[str, Any]) -> dict[str, Any]:
    metadata = image.get("dockerImageMetadata") or {}
    return metadata.get("Config") or {}


def _variables(env: list[str] | None) -> dict[str, str]:
    """Return environment variables by name; of a repeated one the last counts, as in a container."""
    return {name: value for name, _, value in (each.partition("=") for each in env or [])}


def _changed(old: dict[str, str], new: dict[str, str]) -> dict[str, Change]:
    names = sorted({*old, *new})
    return {name: Change(old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _change(old: Any, new: Any) -> Change | None:
    return Change(old, new) if (old or []) != (new or []) else None


def _layers(old: dict[str, Any], new: dict[str, Any]) -> LayerChanges:
    before, after = _digests(old), _digests(new)
    return LayerChanges(
        shared=[layer for layer in after if layer in before],
        new=[layer for layer in after if layer not in before],
        gone=[layer for layer in before if layer not in after],
    )


def _digests(image: dict[str, Any]) -> dict[str, int]:
    """Return the layers of an image with their sizes; a layer that occurs twice counts once."""
    return {layer["name"]: layer.get("size") or 0 for layer in image.get("dockerImageLayers") or []}


def _size(image: dict[str, Any]) -> int:
    told = (image.get("dockerImageMetadata") or {}).get("Size")
    return told if isinstance(told, int) else sum(_digests(image).values())
