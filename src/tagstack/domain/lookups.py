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
    PutImageTag,
    RollbackTag,
)
from tagstack.domain.events import Head, ReferencePolicy, TagSpec
from tagstack.domain.image_stream import FOLLOW, ImageStream
from tagstack.domain.images import image_name
from tagstack.domain.names import ImageStreamName, TagName, split_tag
from tagstack.domain.objects import TagReference
from tagstack.domain.sources import source_image, source_tag
from tagstack.domain.stack import Entry


class StackOf(msgspec.Struct, frozen=True):
    """The whole history stack of one tag of this image stream."""

    tag: str


class HeadOf(msgspec.Struct, frozen=True):
    """The head of a tag of another image stream, asked for by `field`; None where there is no such tag."""

    tag: TagName
    field: str = "from"


class ChainOf(msgspec.Struct, frozen=True):
    """The tags that a tag of another image stream follows, over any number of image streams."""

    tag: TagName


class ImageOf(msgspec.Struct, frozen=True):
    """The entry of the one image in an image stream's history that a prefix means."""

    image_stream: ImageStreamName
    prefix: str
    field: str = "from"


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


def required(command: AnyCommand, state: ImageStream) -> list[Lookup]:
    """Return what has to be looked up before `command` on an image stream can be decided.

    A source that a spec named before is not looked up again: nothing is asked of it.
    """
    target = state.name
    match command:
        case MapImage():
            return [Known(image_name(command.image))] if command.image is not None and is_managed(command) else []
        case RollbackTag():
            return [StackOf(split_tag(command.metadata.name)[1])]
        case PromoteTag() if command.source is not None:
            source = source_tag(command.source, target)
            return [HeadOf(source)] if source.image_stream != target else []
        case ConfigureTag():
            tag = split_tag(command.metadata.name)[1]
            return _of_reference(reference_of(command, state.tag(tag).spec), "tag", tag, state)
        case PutImageTag() if command.spec is not None:
            tag = split_tag(command.metadata.name)[1]
            return [*_status(command, tag), *_of_reference(command.spec, "spec", tag, state)]
        case PutImageTag():
            return _status(command, split_tag(command.metadata.name)[1])
        case PutImageStream():
            wanted = {tag.name: tag for tag in command.spec.tags or []}
            return [
                lookup
                for name, tag in sorted(wanted.items())
                for lookup in _of_reference(tag, f"spec.tags[{name}]", name, state)
            ]
    return []


def is_managed(command: MapImage) -> bool:
    """Return whether the posted image says that it was pushed to the internal registry."""
    annotations = command.image.metadata.annotations if command.image else None
    return (annotations or {}).get("openshift.io/image.managed") == "true"


def _status(command: PutImageTag, tag: str) -> list[Lookup]:
    return [StackOf(tag)] if command.status is not None else []


def _of_reference(reference: TagReference | None, field: str, tag: str, state: ImageStream) -> list[Lookup]:
    source = reference.source if reference else None
    if reference is None or source is None:
        return []
    old, wish = state.tag(tag).spec, wish_of(reference)
    follows = wish.annotations.get(FOLLOW) == "true"
    begins = follows and (old is None or old.annotations.get(FOLLOW) != "true")
    if not begins and not reference_changed(old, wish, state.name.namespace):
        return []
    if source.kind == "ImageStreamImage":
        return [ImageOf(*source_image(source, state.name), field=f"{field}.from")]
    if source.kind == "ImageStreamTag":
        wanted = source_tag(source, state.name)
        if wanted.image_stream != state.name:
            head = HeadOf(wanted, field=f"{field}.from")
            return [head, ChainOf(wanted)] if follows else [head]
    return []


def reference_of(command: ConfigureTag, spec: TagSpec | None) -> TagReference | None:
    """Return the reference that a command on a tag whose spec is `spec` wishes for, if there is one."""
    reference = command.tag
    if reference is None:
        if spec is None:
            return None
        reference = TagReference(
            annotations=spec.annotations,
            source=spec.source,
            reference=spec.reference,
            generation=spec.generation,
            import_policy=spec.import_policy,
            reference_policy=spec.reference_policy,
        )
    annotations = command.metadata.annotations
    return reference if annotations is None else msgspec.structs.replace(reference, annotations=annotations)


def wish_of(reference: TagReference) -> TagSpec:
    """Return the spec that a reference in a request wishes for; `generation` is the client's."""
    return TagSpec(
        source=reference.source,
        reference=bool(reference.reference),
        generation=reference.generation,
        import_policy=reference.import_policy,
        reference_policy=reference.reference_policy or ReferencePolicy(),
        annotations=reference.annotations or {},
    )


def reference_changed(old: TagSpec | None, new: TagSpec, namespace: str) -> bool:
    """Return whether a new spec names another source, or asks for it again, so that the tag has to move.

    Source: tagRefChanged, which does not compare `from.kind`; here it is compared. `new.generation` is
    the client's: only 0, where there was one, asks again.
    """
    if new.source is None or not (new.source.kind or new.source.name):
        return False
    if old is None or old.source is None:
        return True
    if (old.source.namespace or namespace) != (new.source.namespace or namespace):
        return True
    return (
        (old.source.kind, old.source.name) != (new.source.kind, new.source.name)
        or old.reference != new.reference
        or old.import_policy.import_mode != new.import_policy.import_mode
        or asks_again(old, new)
    )


def asks_again(old: TagSpec | None, new: TagSpec) -> bool:
    """Return whether a spec asks for another import: generation 0 where there was another."""
    return old is not None and bool(old.generation) and new.generation == 0
