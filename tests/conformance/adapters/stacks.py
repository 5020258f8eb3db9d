"""History stacks: what a push does to one, what follows it, and which image a prefix means."""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain import stack
from tagstack.domain.arrival import Arrival, Context
from tagstack.domain.changes import Changes
from tagstack.domain.image_stream import evolve
from tagstack.domain.lookups import reference_changed
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import canonical
from tests.conformance.adapters import adapter
from tests.conformance.adapters.image_streams import STREAM
from tests.conformance.seeds import seed_stream, spec_of
from tests.conformance.world import NOW, World


def _changes(world: World, name: str, event: dict[str, Any]) -> Changes:
    """Return a command's changes in the making, at the time and generation of an event."""
    state = world.state(name)
    if "generation" in event:
        state.generation = event["generation"]
    now = canonical(event["created"]) if event.get("created") else NOW
    return Changes(state, Context(actor="user", cause="case", now=now), "mapping")


def _store(world: World, changes: Changes) -> list[str]:
    """Store what a command leads to; return the tags that moved."""
    events = changes.finish()
    for event in events:
        evolve(changes.state, event, world.log.put(event))
    return sorted({event.tag for event in events if hasattr(event, "tag")})


def _arrival(event: dict[str, Any]) -> Arrival:
    return Arrival(event.get("image", ""), event.get("dockerImageReference", ""), "mapping")


@adapter("add_tag_event")
def push(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Let an image arrive at a tag."""
    world = World({"streams": {STREAM: given}})
    changes = _changes(world, STREAM, when["event"])
    changes.move(when["tag"], _arrival(when["event"]))
    moved = _store(world, changes)
    return {"changed": bool(moved), "status_tags": world.status_tags(STREAM)}


@adapter("update_tracking_tags")
def follow(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Let what arrived at a tag arrive at the tags that follow it."""
    stream = given["stream"]
    world = World({"request_namespace": stream["namespace"]})
    seed_stream(world.log, ImageStreamName(stream["namespace"], stream["name"]), stream)
    changes = _changes(world, stream["name"], when["event"])
    changes.follow(when["updated_tag"], _arrival(when["event"]))
    return {"moved_tags": _store(world, changes), "status_tags": world.status_tags(stream["name"])}


@adapter("tag_reference_changed")
def changed(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell whether a spec names another source."""
    old = spec_of(when["old"]) if when.get("old") is not None else None
    return {"changed": reference_changed(old, spec_of(when["new"]), given["stream_namespace"])}


@adapter("history_head_changed")
def head_changed(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell whether the top of a history changed, or went."""
    moved, deleted = stack.head_changed(_first(when["old_images"]), _first(when["new_images"]))
    return {"changed": moved, "deleted": deleted}


def _first(images: list[str] | None) -> str | None:
    return images[0] if images else None


@adapter("resolve_image_id")
def resolve(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Find the image that a prefix means, as the source of a tag is found."""
    world = World({"streams": {STREAM: given}})
    tag = "conformance-resolved"
    source = {"kind": "ImageStreamImage", "name": f"{STREAM}@{when['id']}"}
    body = {"kind": "ImageStreamTag", "metadata": {"name": f"{STREAM}:{tag}"}, "tag": {"from": source}}
    reply = world.send(STREAM, body)
    if not reply.ok:
        return reply.told("OK")
    head = world.state(STREAM).tag(tag).head
    assert head is not None
    return {"status": "OK", "image": head.image, "dockerImageReference": head.pull_spec, **msgspec.to_builtins(head)}
