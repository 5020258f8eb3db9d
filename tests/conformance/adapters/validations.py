"""Broken rules: through the same reading and checking of bodies as every command."""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.errors import Fault, Invalid
from tagstack.domain.layers import layers_faults
from tagstack.domain.names import namespace_faults
from tagstack.domain.wire import read_command
from tests.conformance.adapters import adapter
from tests.conformance.seeds import image_object
from tests.conformance.world import World, errors_of, long_spec


def faults_of(body: dict[str, Any], internal_registry: str = "") -> list[Fault]:
    """Return every rule that a body breaks."""
    try:
        read_command(msgspec.json.encode(body), internal_registry)
    except Invalid as error:
        return list(error.faults)
    return []


@adapter("validate_image_stream")
def image_stream(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check an image stream, its namespace as the subject of a command is checked."""
    stream = when.get("stream") or when
    spec = dict(stream.get("spec") or {})
    tags = {name: {"referencePolicy": "Source"} | tag for name, tag in (spec.pop("tags", None) or {}).items()}
    body: dict[str, Any] = {"kind": "ImageStream", "metadata": {"name": stream.get("name", "")}}
    body["spec"] = spec | {"tags": [long_spec(tag) | {"name": name} for name, tag in tags.items()]}
    if status := stream.get("status"):
        body["status"] = {"tags": [tag | {"tag": name} for name, tag in (status.get("tags") or {}).items()]}
    return {"errors": errors_of(faults_of(body) + namespace_faults(stream.get("namespace", "")))}


@adapter("validate_image")
def image(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check an image on its own."""
    return {"errors": errors_of(faults_of({"kind": "Image"} | image_object(when["image"]["name"], when["image"])))}


@adapter("validate_image_manifests")
def manifests(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check the children of a manifest list."""
    body: dict[str, Any] = {"kind": "Image", "metadata": {"name": "list"}, "dockerImageReference": "some/list"}
    body["dockerImageManifests"] = when["manifests"]
    if layers := when.get("layers"):
        body["dockerImageLayers"] = [each if isinstance(each, dict) else {"name": each} for each in layers]
    return {"errors": errors_of(faults_of(body))}


@adapter("validate_mapping")
def mapping(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check a mapping; its namespace as the subject of a command is checked."""
    posted = dict(when["mapping"])
    name, namespace, posted_image = posted.pop("name", ""), posted.pop("namespace", ""), posted.pop("image", {})
    body = {"kind": "ImageStreamMapping", "metadata": {"name": name, "namespace": namespace}}
    shown = image_object(posted_image.get("name", ""), posted_image)
    return {"errors": errors_of(faults_of(body | posted | {"image": shown}) + namespace_faults(namespace))}


@adapter("validate_signature")
def signature(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check a signature."""
    posted = dict(when["signature"])
    meta = {key: posted.pop(key) for key in ("name", "annotations", "labels") if key in posted}
    return {"errors": errors_of(faults_of({"kind": "ImageSignature", "metadata": meta} | posted))}


@adapter("validate_layers")
def layers(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check the layers of an image stream."""
    return {"errors": errors_of(layers_faults(when["images"]))}


@adapter("validate_istag_update", "validate_imagetag_update")
def tag_update(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check a change of a tag: seed the old one, and put the new one."""
    is_image_tag = when["op"] == "validate_imagetag_update"
    old = given["old_imagetag" if is_image_tag else "old_istag"]
    new = dict(when["imagetag" if is_image_tag else "istag"])
    stream, _, tag = old["name"].partition(":")
    spec = dict(old.get("spec" if is_image_tag else "tag") or {})
    seed: dict[str, Any] = {"labels": old.get("labels"), "status_tags": {}}
    if is_image_tag:
        seed["annotations"] = old.get("annotations")
    else:
        spec["annotations"] = old.get("annotations")
    seed["spec_tags"] = {tag: spec}
    if old.get("status"):
        seed["status_tags"] = {tag: old["status"]}
    meta = {key: new[key] for key in ("name", "annotations", "labels") if key in new}
    body: dict[str, Any] = {"kind": "ImageTag" if is_image_tag else "ImageStreamTag", "metadata": meta}
    for key in ("spec", "tag"):
        if new.get(key) is not None:
            body[key] = long_spec(new[key])
    if new.get("status") is not None:
        body["status"] = new["status"]
    reply = World({"streams": {stream: seed}}).send(stream, body)
    return {"errors": errors_of(list(reply.faults))} | reply.told("OK")
