"""What a decision needs besides the image stream's own state, named here and fetched by the caller.

`required` says what to fetch for a command; `Facts` carries the answers into the decider, which
stays pure.
"""

from __future__ import annotations

import msgspec

from tagstack.domain.commands import (
    AnyCommand,
    ConfigureTag,
    MapImage,
    PromoteTag,
    PutImageStream,
    RollbackTag,
)
from tagstack.domain.events import Head, ObjectReference
from tagstack.domain.image_stream import FOLLOW
from tagstack.domain.images import image_name
from tagstack.domain.names import ImageStreamName, TagName, split_tag
from tagstack.domain.stack import Entry


class StackOf(msgspec.Struct, frozen=True):
    """The whole history stack of one tag of this image stream."""

    tag: str


class HeadOf(msgspec.Struct, frozen=True):
    """The head of a tag of another image stream; None where there is no such tag."""

    tag: TagName


class ChainOf(msgspec.Struct, frozen=True):
    """The tags that a tag of another image stream follows, over any number of image streams."""

    tag: TagName


class ImageOf(msgspec.Struct, frozen=True):
    """The entry of the one image in an image stream's history that a prefix means."""

    image_stream: ImageStreamName
    prefix: str


class Known(msgspec.Struct, frozen=True):
    """Whether an image has been recorded."""

    image: str


Lookup = StackOf | HeadOf | ChainOf | ImageOf | Known


class Source(msgspec.Struct, frozen=True):
    """What another image stream's tag points at. `exists` tells a missing tag from a missing image stream."""

    exists: bool
    head: Head | None = None


class Facts(msgspec.Struct, frozen=True):
    """The answers to a command's lookups."""

    stacks: dict[str, list[Entry]] = {}
    sources: dict[TagName, Source] = {}
    images: dict[tuple[ImageStreamName, str], Entry] = {}
    known: frozenset[str] = frozenset()
    chains: dict[TagName, list[TagName]] = {}


def required(command: AnyCommand, target: ImageStreamName) -> list[Lookup]:
    """Return what has to be looked up before `command` on image stream `target` can be decided."""
    match command:
        case RollbackTag():
            return [StackOf(split_tag(command.metadata.name)[1])]
        case PromoteTag() if command.source is not None:
            name, tag = split_tag(command.source.name)
            return [HeadOf(TagName(ImageStreamName(command.source.namespace or target.namespace, name), tag))]
        case ConfigureTag() if command.tag is not None:
            annotations = command.tag.annotations or command.metadata.annotations
            return _of_reference(command.tag.source, target, annotations)
        case PutImageStream():
            tags = command.spec.tags or []
            return [lookup for tag in tags for lookup in _of_reference(tag.source, target, tag.annotations)]
        case MapImage() if command.image is not None and is_managed(command):
            return [Known(image_name(command.image))]
    return []


def is_managed(command: MapImage) -> bool:
    """Return whether the posted image says that it was pushed to the internal registry."""
    annotations = command.image.metadata.annotations if command.image else None
    return (annotations or {}).get("openshift.io/image.managed") == "true"


def source_tag(source: ObjectReference, target: ImageStreamName) -> TagName:
    """Return the tag that a reference of kind ImageStreamTag means, seen from `target`."""
    name, _, tag = source.name.rpartition(":")
    return TagName(ImageStreamName(source.namespace or target.namespace, name or target.name), tag)


def source_image(source: ObjectReference, target: ImageStreamName) -> tuple[ImageStreamName, str]:
    """Return the image stream and image (or prefix) that a reference of kind ImageStreamImage means."""
    name, _, image = source.name.rpartition("@")
    return ImageStreamName(source.namespace or target.namespace, name or target.name), image


def _of_reference(
    source: ObjectReference | None, target: ImageStreamName, annotations: dict[str, str] | None
) -> list[Lookup]:
    if source is None:
        return []
    if source.kind == "ImageStreamImage":
        return [ImageOf(*source_image(source, target))]
    if source.kind == "ImageStreamTag":
        tag = source_tag(source, target)
        if tag.image_stream != target:
            follows = (annotations or {}).get(FOLLOW) == "true"
            return [HeadOf(tag), ChainOf(tag)] if follows else [HeadOf(tag)]
    return []
