"""What differs between two images, and between two states of some tags. Pure: objects in, differences out."""

from __future__ import annotations

from typing import Any

from tagstack.domain.stack import head_changed

Object = dict[str, Any]

_CONFIG = ("Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal", "Healthcheck")


def tags(before: list[Object], after: list[Object]) -> list[Object]:
    """Return the tags that appeared, went or moved between two lists of rows of `tags_as_of`."""
    old, new = _by_name(before), _by_name(after)
    found = []
    for name in sorted(old | new):
        was, now = old.get(name), new.get(name)
        if not head_changed(was["image"] if was else None, now["image"] if now else None)[0]:
            continue
        namespace, image_stream, tag = name
        found.append(
            {
                "namespace": namespace,
                "image_stream": image_stream,
                "tag": tag,
                "change": "moved" if was and now else "appeared" if now else "went",
                "image": now["image"] if now else None,
                "previous_image": was["image"] if was else None,
                "since": now["since"] if now else None,
                "actor": now["actor"] if now else None,
                "reason": now["reason"] if now else None,
            }
        )
    return found


def _by_name(rows: list[Object]) -> dict[tuple[str, str, str], Object]:
    return {(row["namespace"], row["image_stream"], row["tag"]): row for row in rows}


def images(before: Object, after: Object) -> Object:
    """Return what changed from one image to another: configuration, layers, size."""
    old, new = before.get("dockerImageMetadata") or {}, after.get("dockerImageMetadata") or {}
    old_config, new_config = _config(old), _config(new)
    changed = _changes(
        {key: old_config.get(key) for key in _CONFIG} | {key: old.get(key) for key in ("Architecture", "Os")},
        {key: new_config.get(key) for key in _CONFIG} | {key: new.get(key) for key in ("Architecture", "Os")},
    )
    return {
        "config": changed,
        "labels": _changes(old_config.get("Labels") or {}, new_config.get("Labels") or {}),
        "env": _changes(_environment(old_config), _environment(new_config)),
        "layers": _layers(before, after),
        "size": {"before": _size(before), "after": _size(after)},
    }


def _config(metadata: Object) -> Object:
    return metadata.get("Config") or metadata.get("config") or {}


def _environment(config: Object) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in config.get("Env") or [])


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Object]:
    """Return the values that differ; None stands for absent."""
    return {
        key: {"before": old.get(key), "after": new.get(key)}
        for key in sorted(old | new)
        if (old.get(key) or None) != (new.get(key) or None)
    }


def _layers(before: Object, after: Object) -> Object:
    old, new = (before.get("dockerImageLayers") or []), (after.get("dockerImageLayers") or [])
    old_names, new_names = {layer["name"] for layer in old}, {layer["name"] for layer in new}
    return {
        "shared": [_layer(layer) for layer in _once(new) if layer["name"] in old_names],
        "added": [_layer(layer) for layer in _once(new) if layer["name"] not in old_names],
        "removed": [_layer(layer) for layer in _once(old) if layer["name"] not in new_names],
    }


def _once(layers: list[Object]) -> list[Object]:
    return list({layer["name"]: layer for layer in layers}.values())


def _layer(layer: Object) -> Object:
    return {"layer": layer["name"], "size": layer.get("size", 0)}


def _size(image: Object) -> int:
    known = (image.get("dockerImageMetadata") or {}).get("Size")
    return int(known or sum(layer.get("size", 0) for layer in _once(image.get("dockerImageLayers") or [])))
