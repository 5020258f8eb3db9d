"""From a case's `given` to the events that would have led there; shorthand as in the case files."""

from __future__ import annotations

import hashlib
from typing import Any

from tagstack.domain.events import (
    Head,
    ImageRecorded,
    ImageStreamCreated,
    ImageTagged,
    ImportPolicy,
    ObjectReference,
    ReferencePolicy,
    TagConfigured,
    TagSpec,
)
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import canonical
from tests.memory_log import MemoryLog

TIME = "2016-01-01T00:00:00.000000Z"
ACTOR = "seed"


def told(generation: int | None = None) -> dict[str, Any]:
    """Return what every event says."""
    about = {} if generation is None else {"generation": generation}
    return about | {
        "time": TIME,
        "actor": ACTOR,
        "cause": "seed",
        "number": 1,
        "origin": "mapping",
        "reason": "",
        "caused_by": None,
        "last": True,
        "version": 1,
    }


def spec_of(given: dict[str, Any]) -> TagSpec:
    """Return a spec tag from its shorthand."""
    source = given.get("from")
    return TagSpec(
        source=ObjectReference(**source) if source is not None else None,
        reference=bool(given.get("reference")),
        generation=given.get("generation"),
        import_policy=ImportPolicy(
            insecure=bool(given.get("insecure")),
            scheduled=bool(given.get("scheduled")),
            import_mode=given.get("importMode") or "Legacy",
        ),
        reference_policy=ReferencePolicy(type=given.get("referencePolicy") or "Source"),
        annotations=given.get("annotations") or {},
    )


def seed_stream(log: MemoryLog, name: ImageStreamName, given: dict[str, Any]) -> None:
    """Store the events of an image stream as given: labels, annotations, spec tags, and its history."""
    generation = given.get("generation") or 0  # as in Go, what is not given is zero
    about = {"namespace": name.namespace, "image_stream": name.name, "uid": given.get("uid") or "uid-seed"}
    log.put(
        ImageStreamCreated(
            **told(generation),
            **about,
            created=TIME,
            labels=given.get("labels") or {},
            annotations=given.get("annotations") or {},
            lookup_local=bool(given.get("lookupPolicyLocal")),
            docker_image_repository=given.get("status_dockerImageRepository")
            or (given.get("spec") or {}).get("dockerImageRepository", ""),
        )
    )
    status = dict(given.get("status_tags") or {})
    if "history" in given:
        status["latest"] = {"items": [{"image": image, "dockerImageReference": image} for image in given["history"]]}
    specs = given.get("spec_tags") or {}
    for tag in sorted({*status, *specs}):
        spec = spec_of(specs[tag] or {}) if tag in specs else None
        items = list(reversed((status.get(tag) or {}).get("items") or []))
        common = {**told(generation), **about, "tag": tag, "spec": spec, "hold": None}
        if not items:
            empty = {"image": None, "previous_image": None, "pull_spec": None, "head": None}
            if spec is not None:
                log.put(TagConfigured(**common, **empty))
            continue
        previous = None
        for item in items:
            head = _head(item)
            event = ImageTagged(
                **{**common, "time": head.since},
                image=head.image,
                previous_image=previous,
                pull_spec=head.pull_spec,
                head=head,
            )
            log.put(event)
            previous = head.image


def seed_images(log: MemoryLog, given: dict[str, Any] | list[str]) -> None:
    """Store the events that recorded some images."""
    images = given if isinstance(given, dict) else {name: {} for name in given}
    for name, image in images.items():
        log.put(ImageRecorded(**told(), image=name, data=image_object(name, image)))


def image_object(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return OpenShift's Image from the shorthand of a case."""
    meta: dict[str, Any] = {"name": name}
    annotations = dict(given.get("annotations") or {})
    if given.get("managed"):
        annotations["openshift.io/image.managed"] = "true"
    if annotations:
        meta["annotations"] = annotations
    if given.get("labels"):
        meta["labels"] = given["labels"]
    found: dict[str, Any] = {"metadata": meta}
    keys = {"layers": "dockerImageLayers", "metadata": "dockerImageMetadata", "manifests": "dockerImageManifests"}
    for key, value in given.items():
        if key in ("name", "annotations", "managed", "labels"):
            continue
        if key == "manifests":
            value = [child if isinstance(child, dict) else {"digest": child} for child in value]
        found[keys.get(key, key)] = value
    return found


def parsable(reference: str) -> str:
    """Return a pull spec that can be parsed: cases write `r@b` where only the image's name matters."""
    name, _, image = reference.partition("@")
    return f"{name}:{image}" if image and ":" not in image else reference


def any_digest(of: str) -> str:
    """Return a digest that is always the same for the same text."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def _head(item: dict[str, Any]) -> Head:
    return Head(
        image=item.get("image", ""),
        pull_spec=item.get("dockerImageReference", ""),
        generation=item.get("generation", 0),
        since=canonical(item["created"]) if item.get("created") else TIME,
        actor=ACTOR,
        origin="mapping",
        cause="seed",
    )
