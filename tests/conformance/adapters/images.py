"""Images: seen through an image stream, and what can change in them."""

from __future__ import annotations

from typing import Any

from tests.conformance.adapters import adapter
from tests.conformance.seeds import image_object
from tests.conformance.world import World


@adapter("get_isimage")
def get(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Read an image of an image stream."""
    found = World(given).ask("ImageStreamImage", when["name"])
    if not found.ok:
        return found.told("OK")
    meta = found.status["metadata"]
    return {
        "status": "OK",
        "name": meta["name"],
        "annotations": meta.get("annotations", {}),
        "image": found.status["image"]["metadata"]["name"],
        "image_name": found.status["image"]["metadata"]["name"],
    }


@adapter("get_layers")
def layers(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Read the layers of an image stream."""
    found = World(given).ask("ImageStreamLayers", when["name"])
    return found.told("OK") if not found.ok else {"status": "OK", **found.status}


@adapter("update_image")
def update(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Put an image that is known."""
    name = given["image"]["name"]
    world = World({"images": {name: given["image"]}})
    reply = world.send("_", {"kind": "Image"} | image_object(name, when["image"]))
    shown = world.ask("Image", name).status
    metadata = shown.get("dockerImageMetadata") or {}
    return reply.told("OK") | {
        "labels": shown["metadata"].get("labels", {}),
        "annotations": shown["metadata"].get("annotations", {}),
        "dockerImageReference": shown.get("dockerImageReference", ""),
        "dockerImageManifest": shown.get("dockerImageManifest", ""),
        "metadata_id": metadata.get("Id", ""),
        "size": metadata.get("Size", 0),
        "layers": len(shown.get("dockerImageLayers") or []),
    }
