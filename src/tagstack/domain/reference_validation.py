"""What can be wrong with what a tag refers to: its source, its policies, a repository."""

from __future__ import annotations

from tagstack.domain import pull_spec
from tagstack.domain.errors import Fault
from tagstack.domain.events import ObjectReference
from tagstack.domain.names import image_stream_faults, namespace_faults, tag_faults
from tagstack.domain.objects import TagReference

KINDS = "valid values are 'DockerImage', 'ImageStreamImage', 'ImageStreamTag'"
SOURCE_FORM = "must be of the form <tag>, <repo>:<tag>, <id>, or <repo>@<id>"
IMPORT_MODES = ("", "Legacy", "PreserveOriginal")


def repository_faults(repository: str, field: str) -> list[Fault]:
    """Return what is wrong with a repository: it names neither a tag nor an image."""
    try:
        parsed = pull_spec.parse(repository)
    except pull_spec.PullSpecError as error:
        return [Fault(field, "Invalid", str(error), repository)]
    found = []
    if parsed.tag:
        found.append(Fault(field, "Invalid", "the repository name may not contain a tag", repository))
    if parsed.id:
        found.append(Fault(field, "Invalid", "the repository name may not contain an ID", repository))
    return found


def reference_faults(reference: TagReference, field: str) -> list[Fault]:
    """Return every rule that a spec tag breaks."""
    found = _source_faults(reference.source, f"{field}.from") if reference.source is not None else []
    policy = reference.import_policy
    kind = reference.source.kind if reference.source else ""
    if policy.scheduled and kind in ("ImageStreamTag", "ImageStreamImage"):
        detail = "only tags pointing to Docker repositories may be scheduled for background import"
        found.append(Fault(f"{field}.importPolicy.scheduled", "Invalid", detail, policy.scheduled))
    if policy.import_mode not in IMPORT_MODES:
        detail = "invalid import mode, valid modes are '', 'Legacy', 'PreserveOriginal'"
        found.append(Fault(f"{field}.importPolicy.importMode", "Invalid", detail, policy.import_mode))
    if reference.reference_policy is not None and reference.reference_policy.type not in ("Source", "Local"):
        detail = 'valid values are "Source", "Local"'
        found.append(Fault(f"{field}.referencePolicy.type", "Invalid", detail, reference.reference_policy.type))
    return found


def _source_faults(source: ObjectReference, field: str) -> list[Fault]:
    found = []
    if not source.name:
        found.append(Fault(f"{field}.name", "Required"))
    if source.kind not in ("DockerImage", "ImageStreamImage", "ImageStreamTag"):
        found.append(Fault(f"{field}.kind", "Required", KINDS))
    if source.namespace:
        found += namespace_faults(source.namespace, f"{field}.namespace")
    if found:
        return found
    if source.kind == "DockerImage":
        try:
            pull_spec.parse(source.name)
        except pull_spec.PullSpecError as error:
            # OpenShift takes a bare `@digest` here too
            if not source.name.startswith("@"):
                return [Fault(f"{field}.name", "Invalid", str(error), source.name)]
        return []
    return _stream_source_faults(source, field)


def _stream_source_faults(source: ObjectReference, field: str) -> list[Fault]:
    mark = ":" if source.kind == "ImageStreamTag" else "@"
    parts = source.name.split(mark)
    if len(parts) > 2 or not all(parts):
        return [Fault(f"{field}.name", "Invalid", SOURCE_FORM, source.name)]
    found = image_stream_faults(parts[0], f"{field}.name") if len(parts) == 2 else []
    if source.kind == "ImageStreamTag":
        found += tag_faults(parts[-1], f"{field}.name")
    return found
