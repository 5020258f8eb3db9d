"""The requests that may be refused, spelled as OpenShift's objects on the wire (`kind` selects one).

The classes keep to verb + noun, the wire to OpenShift's kinds. A field that is not theirs is a fault,
except in `metadata` and `image`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.events import ObjectReference
from tagstack.domain.objects import (
    Image,
    ImageStreamSpec,
    ImageStreamStatus,
    Metadata,
    RollbackTarget,
    StatusTag,
    TagReference,
    Wire,
)


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


class ConfigureTag(TagCommand, tag="ImageStreamTag"):
    """Create or replace the spec of a tag, or only create it (`createOnly`).

    The server-set fields of a read-back object are ignored.
    """

    tag: TagReference | None = None
    create_only: bool = False
    generation: int | None = None
    lookup_policy: dict[str, Any] | None = None
    conditions: list[Any] | None = None
    image: Any = None
    entry: Any = None
    hold: Any = None


class PutImageTag(TagCommand, tag="ImageTag"):
    """Create or replace the spec of a tag, or remove it (no `spec`); the history stays.

    A read-back `status` has to be sent back as it is now; `image` and `hold` are ignored.
    """

    spec: TagReference | None = None
    create_only: bool = False
    status: StatusTag | None = None
    image: Any = None
    hold: Any = None


class PutImageStream(Command, tag="ImageStream"):
    """Create or replace an image stream, or only create it. `status` of a read-back object is not taken over."""

    spec: ImageStreamSpec = msgspec.field(default_factory=ImageStreamSpec)
    create_only: bool = False
    status: ImageStreamStatus | None = None


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


class RecordImage(Image, tag_field="kind", tag="Image"):
    """Record an image on its own, if it is new: OpenShift's Image, and beside it what every command has."""

    api_version: str = "v1"
    dry_run: bool = False


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
    | PutImageTag
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
