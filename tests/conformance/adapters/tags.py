"""ImageStreamTag and ImageTag: read, written, listed, deleted, printed."""

from __future__ import annotations

from typing import Any

from tagstack.domain.printing import tag_row
from tests.conformance.adapters import adapter
from tests.conformance.world import Reply, World, long_spec, short_spec

KINDS = {"istag": "ImageStreamTag", "imagetag": "ImageTag"}


def _kind(when: dict[str, Any]) -> str:
    return KINDS[when["op"].split("_")[1].removesuffix("s")]


def _read(found: Reply) -> dict[str, Any]:
    """Return what cases look at in a tag that was read."""
    if not found.ok:
        return found.told("OK")
    shown, meta = found.status, found.status["metadata"]
    image = shown.get("image")
    spec, status = shown.get("spec") or shown.get("tag"), shown.get("status")
    got: dict[str, Any] = {
        "status": "OK",
        "name": meta["name"],
        "namespace": meta["namespace"],
        "labels": meta.get("labels", {}),
        "annotations": meta.get("annotations", {}),
        "creationTimestamp": meta["creationTimestamp"],
        "generation": shown.get("generation", meta.get("generation")),
        "lookupPolicy": shown.get("lookupPolicy"),
        "has_spec": bool(spec),
        "has_tag": bool(spec),
        "has_status": bool(status),
        "has_image": image is not None,
        "spec": short_spec(spec) if spec else None,
        "tag": short_spec(spec) if spec else None,
    }
    if image is not None:
        got["image"] = image["metadata"]["name"]
        got["image_name"] = image["metadata"]["name"]
        got["image_dockerImageReference"] = image["dockerImageReference"]
        got["image_annotations"] = image["metadata"].get("annotations", {})
        got["image_has_manifest"] = bool(image.get("dockerImageManifest"))
    return got


@adapter("get_istag", "get_imagetag")
def get(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Read one tag."""
    return _read(World(given).ask(_kind(when), when["name"]))


@adapter("list_istags", "list_imagetags")
def list_all(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """List the tags of a project."""
    found = World(given).ask(_kind(when)).status
    return {"names": [item["metadata"]["name"] for item in found["items"]]}


@adapter("create_istag", "create_imagetag", "update_istag", "update_imagetag")
def put(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Create or update a tag, as POST and PUT do."""
    kind, creating = _kind(when), when["op"].startswith("create")
    world = World(given)
    stream, _, tag = when["name"].partition(":")
    before = world.state(stream)
    versions = _versions(given, stream, str(before.position))
    body = _body(kind, when)
    version = body["metadata"].get("resourceVersion", "")
    body["metadata"]["resourceVersion"] = versions.get(version, version)
    reply = world.send(stream, body | ({"createOnly": True} if creating else {}))
    was = before.tag(tag)
    got = reply.told("Created" if creating else "OK")
    got["created"] = reply.ok and was.spec is None
    after = world.state(stream)
    got |= {"stream_created": after.exists and not before.exists, "generation": after.generation}
    got["stream_generation"] = after.generation
    got["status_unchanged"] = after.tag(tag).head == was.head
    if not reply.ok:
        return got
    if found := world.spec_tags(stream).get(tag):
        got |= {"spec": found, "tag": found, "spec_generation": found["generation"]}
    return got | {"spec_tags": world.spec_tags(stream), "status_tags": world.status_tags(stream)}


def _versions(given: dict[str, Any], stream: str, position: str) -> dict[str, str]:
    """Return the log position that stands for the resource version a case gives."""
    version = ((given.get("streams") or {}).get(stream) or {}).get("resourceVersion")
    return {} if version is None else {str(version): position}


def _body(kind: str, when: dict[str, Any]) -> dict[str, Any]:
    meta = {key: when[key] for key in ("name", "annotations", "labels", "resourceVersion") if key in when}
    body: dict[str, Any] = {"kind": kind, "metadata": meta}
    key = "spec" if kind == "ImageTag" else "tag"
    if when.get(key) is not None:
        body[key] = long_spec(when[key])
    if kind == "ImageTag" and "status" in when:
        body["status"] = when["status"]
    return body


@adapter("delete_istag", "delete_imagetag")
def delete(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Delete a tag."""
    world = World(given)
    stream = when["name"].partition(":")[0]
    meta = {"name": when["name"]} | ({"uid": when["uid_precondition"]} if "uid_precondition" in when else {})
    reply = world.send(stream, {"kind": "DeleteImageStreamTag", "metadata": meta})
    got = reply.told("Success")
    if reply.ok:
        got |= {"spec_tags": world.spec_tags(stream), "status_tags": world.status_tags(stream)}
        got["stream_generation"] = world.state(stream).generation
    return got


@adapter("print_imagetag")
def print_row(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Print the line of a tag."""
    spec, status = given.get("spec"), given.get("status")
    row = tag_row({"spec": long_spec(spec) if spec is not None else None, "status": status})
    return {"type": row.type, "image": row.image, "history_length": row.history}
