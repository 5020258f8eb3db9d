"""What can be wrong with a command: every broken rule at once, under OpenShift's field paths and words.

Beyond OpenShift, whose server accepts any tag name, the names of tags are checked here.
"""

from __future__ import annotations

from tagstack.domain.commands import (
    AnnotateImage,
    AnyCommand,
    ConfigureTag,
    DeleteImageStream,
    MapImage,
    PromoteTag,
    PutImageStream,
    PutImageTag,
    RecordImage,
    RollbackTag,
    SignImage,
)
from tagstack.domain.errors import BadRequest, Fault, Invalid
from tagstack.domain.image_validation import image_faults, name_faults, pull_spec_faults, signature_faults
from tagstack.domain.names import image_stream_faults, namespace_faults, split_tag, tag_faults
from tagstack.domain.objects import ImageStreamStatus
from tagstack.domain.reference_validation import reference_faults, repository_faults
from tagstack.domain.times import canonical

SPEC_TAGS_MAX = 900
SOURCE_OR_ANNOTATIONS = "a tag without a source has annotations at least"


def check(command: AnyCommand, *, internal_registry: str = "") -> None:
    """Raise Invalid with every rule that a command breaks."""
    if found := faults(command, internal_registry=internal_registry):
        kind = str(command.__struct_config__.tag)
        raise Invalid.of(kind, command.metadata.name, found)


def faults(command: AnyCommand, *, internal_registry: str = "") -> list[Fault]:
    """Return every rule that a command breaks; an internal registry fills in missing pull specs."""
    match command:
        case MapImage():
            return _mapping_faults(command, internal_registry)
        case ConfigureTag():
            return _configure_faults(command)
        case PutImageTag():
            return _image_tag_faults(command)
        case PutImageStream():
            return image_stream_object_faults(command)
        case DeleteImageStream():
            return image_stream_faults(command.metadata.name)
        case RecordImage():
            return image_faults(command, internal_registry=internal_registry)
        case SignImage():
            return signature_faults(command)
        case AnnotateImage():
            return name_faults(command.metadata.name, "metadata.name")
    found = _tag_name_faults(command.metadata.name)
    if isinstance(command, RollbackTag):
        found += _rollback_faults(command)
    if isinstance(command, PromoteTag):
        found += _promote_faults(command)
    return found


def _mapping_faults(command: MapImage, internal_registry: str) -> list[Fault]:
    found = image_stream_faults(command.metadata.name)
    if not command.metadata.name:  # OpenShift names all three
        found += [Fault("name", "Required"), Fault("dockerImageRepository", "Required")]
    found += tag_faults(command.tag)
    if command.image is None:
        return [*found, Fault("image", "Required")]
    return found + image_faults(command.image, "image.", internal_registry=internal_registry)


def _tag_name_faults(name: str) -> list[Fault]:
    if not name:
        return [Fault("metadata.name", "Required", "the tag, <stream>:<tag>")]
    try:
        image_stream, tag = split_tag(name)
    except BadRequest:
        return [Fault("metadata.name", "Invalid", "must be of the form <stream>:<tag>", name)]
    return image_stream_faults(image_stream) + tag_faults(tag, "metadata.name")


def _configure_faults(command: ConfigureTag) -> list[Fault]:
    found = _tag_name_faults(command.metadata.name)
    if command.tag is None:
        return found
    theirs, ours = command.tag.annotations, command.metadata.annotations
    found += reference_faults(command.tag, "tag")
    if command.tag.source is None and not (theirs or ours):
        found.append(Fault("tag.from", "Required", SOURCE_OR_ANNOTATIONS))
    if theirs and ours is not None and theirs != ours:
        detail = "tag annotations must not be provided or must be equal to the object meta annotations"
        found.append(Fault("tag.annotations", "Invalid", detail, theirs))
    return found


def _image_tag_faults(command: PutImageTag) -> list[Fault]:
    found = _tag_name_faults(command.metadata.name)
    spec = command.spec
    if spec is None:
        return found
    if spec.name and spec.name != command.metadata.name.partition(":")[2]:
        found.append(Fault("spec.name", "Invalid", "must match image tag name", spec.name))
    if spec.source is None and not spec.annotations:
        found.append(Fault("spec.from", "Required", SOURCE_OR_ANNOTATIONS))
    return found + reference_faults(spec, "spec")


def image_stream_object_faults(command: PutImageStream) -> list[Fault]:
    """Return every rule that an ImageStream object breaks."""
    found = image_stream_faults(command.metadata.name)
    if repository := command.spec.docker_image_repository:
        found += repository_faults(repository, "spec.dockerImageRepository")
    tags = command.spec.tags or []
    if len(tags) > SPEC_TAGS_MAX:
        found.append(Fault("spec.tags", "TooLong", f"must have at most {SPEC_TAGS_MAX} items"))
    for tag in tags:
        field = f"spec.tags[{tag.name}]"
        found += tag_faults(tag.name, f"{field}.name") + reference_faults(tag, field)
    return found + (_status_faults(command.status) if command.status else [])


def _status_faults(status: ImageStreamStatus) -> list[Fault]:
    """Return what is wrong with a history that was sent back: every entry has a pull spec."""
    found = []
    for tag in status.tags or []:
        for index, item in enumerate(tag.items or []):
            field = f"status.tags[{tag.tag}].items[{index}].dockerImageReference"
            found += pull_spec_faults(item.docker_image_reference, field)
    return found


def _rollback_faults(command: RollbackTag) -> list[Fault]:
    to = command.to
    given = [name for name in ("steps", "stack_position", "image", "time") if getattr(to, name) is not None]
    found = []
    if len(given) > 1:
        found.append(Fault("to", "Invalid", "at most one of steps, stackPosition, image, time may be set", given))
    for name, spelled in (("steps", "steps"), ("stack_position", "stackPosition")):
        value = getattr(to, name)
        if value is not None and value < 1:
            found.append(Fault(f"to.{spelled}", "Invalid", "must be at least 1", value))
    if to.image is not None and not to.image:
        found.append(Fault("to.image", "Required"))
    if to.time is not None:
        try:
            canonical(to.time)
        except ValueError:
            found.append(Fault("to.time", "Invalid", "must be an RFC 3339 time", to.time))
    return found


def _promote_faults(command: PromoteTag) -> list[Fault]:
    source = command.source
    if source is None or not source.name:
        return [Fault("from.name", "Required", "the tag to promote, <stream>:<tag>")]
    if source.kind not in ("", "ImageStreamTag"):
        return [Fault("from.kind", "NotSupported", 'supported values: "ImageStreamTag"', source.kind)]
    found = namespace_faults(source.namespace, "from.namespace") if source.namespace else []
    try:
        image_stream, tag = split_tag(source.name)
    except BadRequest:
        return [*found, Fault("from.name", "Invalid", "must be of the form <stream>:<tag>", source.name)]
    return found + image_stream_faults(image_stream, "from.name") + tag_faults(tag, "from.name")
