"""What a reference in a tag's spec means, seen from the image stream that has it."""

from __future__ import annotations

from tagstack.domain.events import ObjectReference, TagSpec
from tagstack.domain.names import ImageStreamName, TagName


def source_tag(source: ObjectReference, target: ImageStreamName) -> TagName:
    """Return the tag that a reference of kind ImageStreamTag means, seen from `target`."""
    name, _, tag = source.name.rpartition(":")
    return TagName(ImageStreamName(source.namespace or target.namespace, name or target.name), tag)


def source_image(source: ObjectReference, target: ImageStreamName) -> tuple[ImageStreamName, str]:
    """Return the image stream and image (or prefix) that a reference of kind ImageStreamImage means."""
    name, _, image = source.name.rpartition("@")
    return ImageStreamName(source.namespace or target.namespace, name or target.name), image


def alias_source(spec: TagSpec | None, target: ImageStreamName) -> str | None:
    """Return the tag of the same image stream that a spec follows live, if it does."""
    if spec is None or spec.source is None or spec.source.kind != "ImageStreamTag" or spec.reference:
        return None
    source = source_tag(spec.source, target)
    return source.tag if source.image_stream == target else None
