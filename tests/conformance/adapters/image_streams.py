"""Image streams: created, replaced, deleted, and what their spec tags lead to."""

from __future__ import annotations

from typing import Any

from tagstack.domain import pull_spec, resolution, views
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.names import ImageStreamName
from tests.conformance.adapters import adapter
from tests.conformance.seeds import image_object, parsable
from tests.conformance.world import World, errors_of, long_spec

STREAM = "stream"


def body_of(name: str, spec_tags: dict[str, Any] | None, **metadata: Any) -> dict[str, Any]:
    """Return an ImageStream from the shorthand of cases."""
    tags = [long_spec(tag) | {"name": tag_name} for tag_name, tag in (spec_tags or {}).items()]
    return {"kind": "ImageStream", "metadata": {"name": name} | metadata, "spec": {"tags": tags}}


def _generations(world: World, name: str) -> dict[str, Any]:
    tags = world.spec_tags(name)
    return {
        "stream_generation": world.state(name).generation,
        "tag_generations": {tag: spec["generation"] for tag, spec in tags.items()},
        "spec_tags": tags,
        "status_tags": world.status_tags(name),
    }


@adapter("create_stream")
def create(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Create an image stream."""
    world = World(given)
    name = when.get("name", STREAM)
    reply = world.send(name, body_of(name, when.get("spec_tags")) | {"createOnly": True})
    return reply.told("Created") | (_generations(world, name) if reply.ok else {})


@adapter("update_stream")
def update(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Replace an image stream; what the case does not mention is sent back as it is."""
    seed = given | {"generation": given.get("stream_generation")}
    world = World({"streams": {STREAM: seed}})
    metadata = {key: when.get(key, given.get(key)) for key in ("labels", "annotations")}
    body = body_of(STREAM, when.get("spec_tags", given.get("spec_tags")), **metadata)
    for key in ("lookupPolicy", "dockerImageRepository"):
        if key in when:
            body["spec"][key] = when[key]
    reply = world.send(STREAM, body)
    return reply.told("OK") | _generations(world, STREAM)


@adapter("apply_spec_tags")
def apply(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Replace the spec tags of an image stream and look at its history."""
    repository = pull_spec.parse(given["repo"])
    seed = {"spec_tags": given.get("old_spec_tags"), "status_tags": given.get("status_tags")}
    seed["generation"] = given.get("generation")
    streams = {repository.name: seed} | (given.get("other_streams") or {})
    world = World(
        {"request_namespace": repository.namespace, "streams": streams, "internal_registry": repository.registry}
    )
    reply = world.send(repository.name, body_of(repository.name, given.get("spec_tags")))
    return {"status_tags": world.status_tags(repository.name), "errors": errors_of(list(reply.faults))} | (
        {} if reply.ok else reply.told("OK")
    )


@adapter("put_stream_without_spec_tag")
def drop_spec_tag(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Replace an image stream by itself without one spec tag."""
    world = World(given)
    name, stream = next(iter(given["streams"].items()))
    specs = {tag: spec for tag, spec in (stream.get("spec_tags") or {}).items() if tag != when["tag"]}
    return world.send(name, body_of(name, specs)).told("OK") | _generations(world, name)


@adapter("delete_stream")
def delete(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Delete an image stream."""
    world = World(given)
    meta = {"name": when["name"]} | ({"uid": when["uid_precondition"]} if "uid_precondition" in when else {})
    reply = world.send(when["name"], {"kind": "DeleteImageStream", "metadata": meta})
    images = [image for image in given.get("images") or [] if world.knows_image(image)]
    return reply.told("Success") | {"images": images, "status_tags": world.status_tags(when["name"])}


@adapter("delete_stream_then_create")
def recreate(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Delete an image stream and create it again."""
    world = World(given)
    name = when["name"]
    uid = world.state(name).uid
    assert world.send(name, {"kind": "DeleteImageStream", "metadata": {"name": name}}).ok
    reply = world.send(name, body_of(name, {}) | {"createOnly": True})
    images = [image for image in given.get("images") or [] if world.knows_image(image)]
    changed = world.state(name).uid != uid
    return reply.told("Created") | _generations(world, name) | {"uid_changed": changed, "images": images}


@adapter("delete_istag_then_push")
def delete_then_push(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Delete a tag and push to it again."""
    world = World(given)
    name, tag = next(iter(given["streams"])), when["tag"]
    assert world.send(name, {"kind": "DeleteImageStreamTag", "metadata": {"name": f"{name}:{tag}"}}).ok
    image = image_object(when["image"], {"dockerImageReference": parsable(when["dockerImageReference"])})
    body = {"kind": "ImageStreamMapping", "metadata": {"name": name}, "image": image, "tag": tag}
    reply = world.send(name, body)
    items = world.status_tags(name)[tag]["items"]
    return reply.told("Success") | {"history": [item["image"] for item in items]}


@adapter("status_docker_image_repository")
def status_repository(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell an image stream's repository."""
    stream = given["stream"]
    name = ImageStreamName(stream["namespace"], stream["name"])
    state = ImageStream(name, docker_image_repository=stream["spec"].get("dockerImageRepository", ""))
    return {"dockerImageRepository": views.repository(state, given.get("internal_registry", ""))}


def seeded(given: dict[str, Any]) -> ImageStream:
    """Return the state of one image stream with the spec and history of a case."""
    seed = {key: given.get(key) for key in ("spec_tags", "status_tags")}
    seed["spec"] = {"dockerImageRepository": given.get("status_dockerImageRepository", "")}
    return World({"streams": {STREAM: seed}}).state(STREAM)


@adapter("latest_tagged_image")
def latest(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell the head of a tag."""
    head = resolution.latest_tagged_image(seeded(given), when["tag"])
    if head is None:
        return {"found": False}
    return {"found": True, "dockerImageReference": head.pull_spec, "image": head.image}


@adapter("resolve_latest_tagged_image")
def resolve_latest(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell the pull spec of a tag's head."""
    state = seeded(given)
    found = resolution.resolve_latest(state, when["tag"], views.repository(state, ""))
    return {"found": found is not None, "pull_spec": found or ""}


@adapter("resolve_pull_spec_for_tag")
def resolve(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell the pull spec of a tag."""
    tag, spec, items = when["tag"], given.get("spec_tag"), given.get("status_items")
    given = given | {"spec_tags": {tag: spec} if spec else {}, "status_tags": {tag: {"items": items}} if items else {}}
    state = seeded(given)
    repositories = resolution.Repositories(
        views.repository(state, ""), given.get("status_publicDockerImageRepository", "")
    )
    external, require = when.get("default_external", False), when.get("require_latest", False)
    try:
        found = resolution.resolve_pull_spec(state, tag, repositories, external=external, require_latest=require)
    except resolution.ResolutionError as error:
        return {"error": str(error)}
    return {
        "pullSpec": found.pull_spec,
        "hasNewer": found.has_newer,
        "hasStatus": found.has_status,
        "isTagEmpty": found.is_tag_empty,
    }
