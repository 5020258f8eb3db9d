"""The parts of requests, spelled as OpenShift's objects on the wire.

Unknown fields are ignored inside `metadata` and `image`, since registries send server-set ones;
elsewhere they are faults.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.events import ImportPolicy, ObjectReference, ReferencePolicy


class Wire(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An object of the wire in which unknown fields are ignored."""


class Metadata(Wire):
    """The part of Kubernetes' ObjectMeta that tagstack reads."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str = ""
    uid: str = ""


class Layer(Wire):
    """One layer of an image; layers are a list, duplicates are legal. `size` in bytes."""

    name: str = ""
    size: int = 0
    media_type: str = ""


class ChildManifest(Wire):
    """One child of a manifest list. `manifest_size` in bytes."""

    digest: str = ""
    media_type: str = ""
    manifest_size: int = 0
    architecture: str = ""
    os: str = ""
    variant: str = ""


class Image(Wire):
    """OpenShift's Image, as sent."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    docker_image_reference: str = ""
    docker_image_metadata: dict[str, Any] | None = None
    docker_image_metadata_version: str = ""
    docker_image_manifest: str = ""
    docker_image_manifest_media_type: str = ""
    docker_image_config: str = ""
    docker_image_layers: list[Layer] | None = None
    docker_image_manifests: list[ChildManifest] | None = None
    docker_image_signatures: list[str] | None = None
    signatures: list[dict[str, Any]] | None = None


class TagReference(Wire, forbid_unknown_fields=True):
    """OpenShift's TagReference: the wish for a tag. `generation` 0 asks for another import."""

    name: str = ""
    annotations: dict[str, str] | None = None
    source: ObjectReference | None = msgspec.field(default=None, name="from")
    reference: bool | None = None
    generation: int | None = None
    import_policy: ImportPolicy = ImportPolicy()
    reference_policy: ReferencePolicy | None = None


class LookupPolicy(Wire, forbid_unknown_fields=True):
    """Whether bare names in the namespace resolve to this image stream."""

    local: bool = False


class ImageStreamSpec(Wire, forbid_unknown_fields=True):
    """OpenShift's ImageStreamSpec."""

    lookup_policy: LookupPolicy = msgspec.field(default_factory=LookupPolicy)
    docker_image_repository: str = ""
    tags: list[TagReference] | None = None


class StatusItem(Wire):
    """OpenShift's TagEvent, as sent back."""

    created: str | None = None
    docker_image_reference: str = ""
    image: str = ""
    generation: int | None = None


class StatusTag(Wire):
    """OpenShift's NamedTagEventList, as sent back: newest item first."""

    tag: str = ""
    items: list[StatusItem] | None = None


class ImageStreamStatus(Wire):
    """OpenShift's ImageStreamStatus, as sent back."""

    tags: list[StatusTag] | None = None


class RollbackTarget(Wire, forbid_unknown_fields=True):
    """Which earlier entry to return to; at most one is set, none means one step."""

    steps: int | None = None
    stack_position: int | None = None
    image: str | None = None
    time: str | None = None
