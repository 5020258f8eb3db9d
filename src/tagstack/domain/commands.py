"""The requests that may be refused, spelled as OpenShift's objects on the wire (`kind` selects one).

Unknown fields are ignored inside `metadata` and `image`, since registries send server-set ones;
elsewhere they are faults. The classes keep to verb + noun, the wire to OpenShift's kinds.
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


class Command(Wire, tag_field="kind", forbid_unknown_fields=True):
    """Any command. `dry_run` asks what would happen; nothing is stored."""

    api_version: str = "v1"
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    dry_run: bool = False


class TagCommand(Command):
    """A command on one tag, which may name the head it expects to find."""

    expected_image: str | None = None
    expected_position: int | None = None


class MapImage(TagCommand, tag="ImageStreamMapping"):
    """This image exists; put it at this tag."""

    image: Image | None = None
    tag: str = ""


class TagReference(Wire, forbid_unknown_fields=True):
    """OpenShift's TagReference: the wish for a tag. `generation` 0 asks for another import."""

    name: str = ""
    annotations: dict[str, str] | None = None
    source: ObjectReference | None = msgspec.field(default=None, name="from")
    reference: bool | None = None
    generation: int | None = None
    import_policy: ImportPolicy = ImportPolicy()
    reference_policy: ReferencePolicy | None = None


class ConfigureTag(TagCommand, tag="ImageStreamTag"):
    """Create or replace the spec of a tag. The server-set fields of a read-back object are ignored."""

    tag: TagReference | None = None
    generation: int | None = None
    lookup_policy: dict[str, Any] | None = None
    conditions: list[Any] | None = None
    image: Any = None


class LookupPolicy(Wire, forbid_unknown_fields=True):
    """Whether bare names in the namespace resolve to this image stream."""

    local: bool = False


class ImageStreamSpec(Wire, forbid_unknown_fields=True):
    """OpenShift's ImageStreamSpec."""

    lookup_policy: LookupPolicy = msgspec.field(default_factory=LookupPolicy)
    docker_image_repository: str = ""
    tags: list[TagReference] | None = None


class PutImageStream(Command, tag="ImageStream"):
    """Create or replace an image stream. `status` of a read-back object is ignored."""

    spec: ImageStreamSpec = msgspec.field(default_factory=ImageStreamSpec)
    status: Any = None


class RollbackTarget(Wire, forbid_unknown_fields=True):
    """Which earlier entry to return to; at most one is set, none means one step."""

    steps: int | None = None
    stack_position: int | None = None
    image: str | None = None
    time: str | None = None


class RollbackTag(TagCommand):
    """Point a tag at an earlier image again, as a new entry on top."""

    to: RollbackTarget = msgspec.field(default_factory=RollbackTarget)
    hold: bool = True


class HoldTag(TagCommand):
    """Let nothing but a rollback or a release move the tag."""


class ReleaseTag(TagCommand):
    """End the hold; with `advance` move to the newest withheld image."""

    advance: bool = False


class PromoteTag(TagCommand):
    """Copy a tag's image to another tag and keep where it came from."""

    source: ObjectReference | None = msgspec.field(default=None, name="from")


class DeleteTag(TagCommand, tag="DeleteImageStreamTag"):
    """Remove a tag from the current view; `force` for a held one."""

    force: bool = False


class DeleteImageStream(Command):
    """Remove an image stream and its tags from the current view; `force` where a tag is held."""

    force: bool = False


class RecordImage(Command, tag="Image", forbid_unknown_fields=False):
    """Record an image on its own, if it is new."""

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


class SignImage(Command, tag="ImageSignature", forbid_unknown_fields=False):
    """Store a signature beside an image; `metadata.name` is `<image>@<signature>`."""

    type: str = ""
    content: str = ""
    conditions: list[dict[str, Any]] | None = None
    image_identity: str = ""
    signed_claims: dict[str, str] | None = None
    created: str | None = None
    issued_by: dict[str, Any] | None = None
    issued_to: dict[str, Any] | None = None


class AnnotateImage(Command, tag="ImageAnnotations"):
    """Set annotations beside an image; an empty value removes one."""


AnyCommand = (
    MapImage
    | ConfigureTag
    | PutImageStream
    | RollbackTag
    | HoldTag
    | ReleaseTag
    | PromoteTag
    | DeleteTag
    | DeleteImageStream
    | RecordImage
    | SignImage
    | AnnotateImage
)
