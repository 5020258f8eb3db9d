"""What readers see: OpenShift's objects, made of an image stream's state and its history stacks.

Extra fields beside OpenShift's say who and why; OpenShift's own view of a tag's history shows what
came after the last delete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.events import Head, Hold, ImageRecorded, TagSpec
from tagstack.domain.image_stream import ImageStream, Tag
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


def image_stream_tag(state: ImageStream, name: str, head: Head, found: dict[str, Any] | None) -> dict[str, Any]:
    """Return OpenShift's ImageStreamTag: the head of a tag and its image.

    The head's pull spec wins over the image's own; the spec tag's annotations are merged into both.
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
        shown["image"] = _shown_image(found, annotations) | {"dockerImageReference": head.pull_spec}
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


def history_rows(name: str, namespace: str, tag: str, entries: list[Entry], gone: str | None) -> list[dict[str, Any]]:
    """Return the rows of the SQL relation `tag_history` of one tag, newest first.

    `gone` is when the tag was deleted, None where it exists.
    """
    rows = []
    newer: str | None = None
    for stack_position, entry in enumerate(entries, 1):
        head = entry.head
        ends = [time for time in (newer, entry.ended) if time is not None]
        if stack_position == 1 and gone is not None and not ends:
            ends = [gone]
        rows.append(
            {
                "namespace": namespace,
                "image_stream": name,
                "tag": tag,
                "stack_position": stack_position,
                "image": head.image,
                "pull_spec": head.pull_spec,
                "generation": head.generation,
                "valid_from": head.since,
                "valid_to": min(ends) if ends else None,
                "origin": head.origin,
                "actor": head.actor,
                "reason": head.reason,
                "cause": head.cause,
                "caused_by": head.caused_by,
                "restores": head.restores,
                "deleted": gone,
                "position": head.position,
            }
        )
        newer = head.since
    return rows
