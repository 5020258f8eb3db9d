"""What readers see: OpenShift's objects, made of an image stream's state and its history stacks.

Extra fields beside OpenShift's say who and why; OpenShift's own view of a tag's history shows what
came after the last delete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.events import Head, Hold, ImageRecorded, TagSpec
from tagstack.domain.image_stream import ImageStream, Tag
from tagstack.domain.resolution import pull_spec_of
from tagstack.domain.stack import Entry

API_VERSION = "image.openshift.io/v1"


def image_stream(state: ImageStream, stacks: dict[str, list[Entry]], registry: str = "") -> dict[str, Any]:
    """Return OpenShift's ImageStream."""
    spec: dict[str, Any] = {"lookupPolicy": {"local": state.lookup_local}}
    if state.docker_image_repository:
        spec["dockerImageRepository"] = state.docker_image_repository
    tags = [spec_tag(name, tag.spec) for name, tag in sorted(state.tags.items()) if tag.spec is not None]
    if tags:
        spec["tags"] = tags
    status: dict[str, Any] = {"dockerImageRepository": repository(state, registry)}
    shown = [status_tag(name, tag, stacks.get(name, [])) for name, tag in sorted(state.tags.items()) if tag.head]
    if shown:
        status["tags"] = shown
    return {
        "kind": "ImageStream",
        "apiVersion": API_VERSION,
        "metadata": metadata(state),
        "spec": spec,
        "status": status,
    }


def metadata(state: ImageStream) -> dict[str, Any]:
    """Return the ObjectMeta of an image stream; its resource version is its position in the log."""
    found: dict[str, Any] = {
        "name": state.name.name,
        "namespace": state.name.namespace,
        "uid": state.uid,
        "resourceVersion": str(state.position),
        "generation": state.generation,
        "creationTimestamp": state.created,
    }
    if state.labels:
        found["labels"] = state.labels
    if state.annotations:
        found["annotations"] = state.annotations
    return found


def repository(state: ImageStream, registry: str) -> str:
    """Return `status.dockerImageRepository`: the internal registry's, else the spec's."""
    if registry:
        return f"{registry}/{state.name.namespace or 'default'}/{state.name.name}"
    return state.docker_image_repository


def spec_tag(name: str, spec: TagSpec) -> dict[str, Any]:
    """Return OpenShift's TagReference."""
    found: dict[str, Any] = {"name": name}
    if spec.annotations:
        found["annotations"] = spec.annotations
    if spec.source is not None:
        found["from"] = msgspec.to_builtins(spec.source)
    if spec.reference:
        found["reference"] = True
    found["generation"] = spec.generation
    policy = {"importMode": spec.import_policy.import_mode}
    flags = {key: True for key in ("insecure", "scheduled") if getattr(spec.import_policy, key)}
    return found | {"importPolicy": policy | flags, "referencePolicy": {"type": spec.reference_policy.type}}


def status_tag(name: str, tag: Tag, entries: list[Entry]) -> dict[str, Any]:
    """Return OpenShift's NamedTagEventList: what came after the last delete, newest first."""
    current = [entry.head for entry in entries if not entry.deleted_after and entry.uid == tag.uid]
    found: dict[str, Any] = {"tag": name, "items": [item(head) for head in current]}
    if tag.hold is not None:
        found["hold"] = hold(tag.hold)
    return found


def item(head: Head) -> dict[str, Any]:
    """Return OpenShift's TagEvent, and beside it who, why and where in the log."""
    found = {
        "created": head.since,
        "dockerImageReference": head.pull_spec,
        "image": head.image,
        "generation": head.generation,
        "position": head.position,
        "actor": head.actor,
        "reason": head.reason,
        "origin": head.origin,
    }
    if head.restores is not None:
        found["restores"] = head.restores
    if head.promoted_from is not None:
        found["promotedFrom"] = msgspec.to_builtins(head.promoted_from)
    return found


def hold(held: Hold) -> dict[str, Any]:
    """Return who holds a tag, since when, why, and what was withheld."""
    found: dict[str, Any] = {"since": held.since, "actor": held.actor, "reason": held.reason}
    if held.withheld is not None:
        found["withheld"] = msgspec.to_builtins(held.withheld)
        found["withheldCount"] = held.withheld_count
    return found


def image(recorded: ImageRecorded, annotations: dict[str, str], signatures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return OpenShift's Image: what was recorded, and what was added beside it."""
    found = dict(recorded.data)
    meta = dict(found.get("metadata") or {})
    meta.setdefault("name", recorded.image)
    meta["creationTimestamp"] = recorded.time
    merged = (meta.get("annotations") or {}) | annotations
    if merged:
        meta["annotations"] = merged
    found |= {"kind": "Image", "apiVersion": API_VERSION, "metadata": meta}
    if signatures:
        found["signatures"] = signatures
    return found


def image_stream_tag(
    state: ImageStream, name: str, head: Head, found: dict[str, Any] | None, registry: str = ""
) -> dict[str, Any]:
    """Return OpenShift's ImageStreamTag: the head of a tag and its image.

    The head's pull spec wins over the image's own (a pull-through one where the policy is Local); the
    spec tag's annotations are merged into both.
    """
    tag = state.tag(name)
    annotations = tag.spec.annotations if tag.spec else {}
    meta = metadata(state) | {
        "name": f"{state.name.name}:{name}",
        "generation": head.generation,
        "creationTimestamp": head.since,
    }
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    shown: dict[str, Any] = {
        "kind": "ImageStreamTag",
        "apiVersion": API_VERSION,
        "metadata": meta,
        "tag": spec_tag(name, tag.spec) if tag.spec else None,
        "generation": head.generation,
        "lookupPolicy": {"local": state.lookup_local},
        "entry": item(head),
    }
    if tag.hold is not None:
        shown["hold"] = hold(tag.hold)
    if found is not None:
        shown["image"] = _shown_image(found, annotations) | {
            "dockerImageReference": pull_spec_of(tag.spec, head, repository(state, registry))
        }
    return shown


def image_tag(
    state: ImageStream, name: str, entries: list[Entry], found: dict[str, Any] | None, registry: str = ""
) -> dict[str, Any]:
    """Return OpenShift's ImageTag: a tag's spec, its whole history, and its image if that is known."""
    tag = state.tag(name)
    meta = metadata(state) | {"name": f"{state.name.name}:{name}"}
    shown: dict[str, Any] = {"kind": "ImageTag", "apiVersion": API_VERSION, "metadata": meta}
    shown["spec"] = spec_tag(name, tag.spec) if tag.spec else None
    shown["status"] = status_tag(name, tag, entries) if tag.head else None
    if tag.hold is not None:
        shown["hold"] = hold(tag.hold)
    if found is not None and tag.head is not None:
        shown["image"] = _shown_image(found, tag.spec.annotations if tag.spec else {}) | {
            "dockerImageReference": pull_spec_of(tag.spec, tag.head, repository(state, registry))
        }
    return shown


def image_stream_image(state: ImageStream, asked: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return OpenShift's ImageStreamImage; its name keeps the image as asked for."""
    meta = metadata(state) | {
        "name": f"{state.name.name}@{asked}",
        "creationTimestamp": found["metadata"]["creationTimestamp"],
    }
    return {"kind": "ImageStreamImage", "apiVersion": API_VERSION, "metadata": meta, "image": found}


def _shown_image(found: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    shown = {key: value for key, value in found.items() if key not in ("dockerImageManifest", "dockerImageConfig")}
    meta = dict(shown["metadata"])
    merged = (meta.get("annotations") or {}) | annotations
    return shown | {"metadata": meta | ({"annotations": merged} if merged else {})}
