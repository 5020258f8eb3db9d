"""Pushes: an ImageStreamMapping through the command handler."""

from __future__ import annotations

from typing import Any

from tests.conformance.adapters import adapter
from tests.conformance.seeds import image_object, parsable
from tests.conformance.world import World

UPSTREAM_REGISTRY = "defaultregistry:5000"  # upstream's own tests of mappings run with an internal registry


@adapter("create_mapping")
def create(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Post a mapping, as OpenShift without creating a missing image stream, and look at what it left."""
    posted = when["image"] if isinstance(when["image"], dict) else {"name": when["image"]}
    posted = {key: when[key] for key in ("dockerImageReference",) if key in when} | posted
    name = when.get("name", "stream")
    streams = given.get("streams")
    if streams is None:
        streams = {name: {"status_tags": given.get("status_tags"), "spec_tags": given.get("spec_tags")}}
    if "stream_generation" in given:
        streams = {key: {"generation": given["stream_generation"]} | value for key, value in streams.items()}
    given_reference = posted.get("dockerImageReference", "")
    if given_reference:
        posted["dockerImageReference"] = parsable(given_reference)
    registry = "" if posted.get("dockerImageReference") else UPSTREAM_REGISTRY
    world = World(given | {"streams": streams}, registry=registry)
    image = posted["name"]
    known, events = world.knows_image(image), len(world.log.stored)
    meta = {"name": name} | ({"namespace": when["namespace"]} if "namespace" in when else {})
    body = {"kind": "ImageStreamMapping", "metadata": meta, "image": image_object(image, posted), "tag": when["tag"]}
    reply = world.send(name, body, create=False)
    left = _left(world, name, when["tag"], image, (known, events))
    if left["head"] and left["head"]["dockerImageReference"] == posted.get("dockerImageReference"):
        left["head"]["dockerImageReference"] = given_reference
    return reply.told("Success") | left


def _left(world: World, name: str, tag: str, image: str, before: tuple[bool, int]) -> dict[str, Any]:
    history = world.status_tags(name)
    items = history.get(tag, {}).get("items", [])
    stored = world.ask("Image", image)
    found: dict[str, Any] = {
        "image_created": not before[0] and world.knows_image(image),
        "heads": world.heads(name),
        "head": items[0] | {"tag": tag} if items else None,
        "history_length": len(items),
        "retried": world.log.appends > 1,
        "stream_written": len(world.log.stored) > before[1],
        "stream_generation": world.state(name).generation,
        "status_tags": history,
    }
    if stored.ok:
        shown = stored.status
        found["image"] = {
            "name": shown["metadata"]["name"],
            "dockerImageReference": shown.get("dockerImageReference", ""),
            "metadata": shown.get("dockerImageMetadata"),
            "signatures": shown.get("signatures", []),
            "annotations": shown["metadata"].get("annotations", {}),
        }
    return found
