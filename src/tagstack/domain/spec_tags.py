"""From wish to fact: a changed spec tag is stored, and the image it names arrives at the tag.

Source of the rules: OpenShift's image stream strategy (tagsChanged), with live aliases that are
transitive, and without its dependence on the order of a map.
"""

from __future__ import annotations

import msgspec

from tagstack.domain import lookups
from tagstack.domain.changes import Arrival, Changes
from tagstack.domain.commands import ConfigureTag, PutImageStream
from tagstack.domain.errors import AlreadyExists, BadRequest, Conflict, Fault, Invalid, NotFound
from tagstack.domain.events import ObjectReference
from tagstack.domain.names import TagName, split_tag
from tagstack.domain.objects import TagReference
from tagstack.domain.sources import source_image, source_tag


def configure_tag(command: ConfigureTag, changes: Changes, facts: lookups.Facts) -> None:
    """Create or replace the spec of one tag; without `tag` only its annotations.

    Raises: BadRequest where there is nothing to annotate, AlreadyExists, Conflict, Invalid.
    """
    name, tag = split_tag(command.metadata.name)
    check_version(command.metadata.resource_version, changes, name)
    spec = changes.tag(tag).spec if changes.exists else None
    if command.create_only:
        if spec is not None:
            raise AlreadyExists.of("imagestreamtags", command.metadata.name)
    elif changes.exists:
        _check_labels(command, changes)
    changes.create()
    if command.create_only and command.tag is None:
        return
    reference = lookups.reference_of(command, spec)
    if reference is None:
        raise BadRequest(
            f"imagestreamtag {tag} is not a spec tag in imagestream {changes.state.name}, cannot be updated"
        )
    check_circle(tag, reference, changes, facts, "tag.from.name")
    if put_spec(tag, reference, changes):
        to_status(tag, changes, facts, "tag.from.name")
    changes.complete_generations()


def put_image_stream(command: PutImageStream, changes: Changes, facts: lookups.Facts) -> None:
    """Create or replace an image stream: its metadata, policies and every spec tag."""
    name = command.metadata.name
    check_version(command.metadata.resource_version, changes, name)
    if command.metadata.uid not in ("", changes.uid):
        raise Conflict(
            f"Precondition failed: UID in precondition: {command.metadata.uid}, UID in object: {changes.uid}"
        )
    given = {
        "labels": command.metadata.labels or {},
        "annotations": command.metadata.annotations or {},
        "lookup_local": command.spec.lookup_policy.local,
        "docker_image_repository": command.spec.docker_image_repository,
    }
    if changes.exists and command.create_only:
        raise AlreadyExists.of("imagestreams", name)
    if changes.exists:
        changes.update(**given)
    else:
        changes.create(**given)
    wanted = {reference.name: reference for reference in command.spec.tags or []}  # the last of a name wins
    for tag in changes.names():
        if tag not in wanted and changes.tag(tag).spec is not None:
            changes.raise_generation()
            changes.configure(tag, None)
    for tag, reference in wanted.items():
        check_circle(tag, reference, changes, facts, f"spec.tags[{tag}].from.name")
    touched = [tag for tag in sorted(wanted) if put_spec(tag, wanted[tag], changes)]
    changes.complete_generations()
    for tag in touched:
        to_status(tag, changes, facts, f"spec.tags[{tag}].from.name")


def put_spec(tag: str, reference: TagReference, changes: Changes) -> bool:
    """Store a spec that differs; return whether the tag has to look for its image again."""
    old = changes.tag(tag).spec
    wish = lookups.wish_of(reference)
    new = msgspec.structs.replace(wish, generation=old.generation if old else None)
    if old == new and not lookups.asks_again(old, wish):
        return False
    changes.configure(tag, msgspec.structs.replace(new, generation=changes.raise_generation()))
    return lookups.reference_changed(old, wish, changes.state.name.namespace)


def to_status(tag: str, changes: Changes, facts: lookups.Facts, field: str) -> None:
    """Let the image that a tag's spec names arrive at the tag; `field` names the reference in faults."""
    spec = changes.tag(tag).spec
    source = spec.source if spec else None
    if spec is None or source is None:
        return
    if source.kind == "DockerImage":
        if spec.reference:
            changes.move(tag, Arrival("", source.name, "tag"))
    elif source.kind == "ImageStreamTag":
        _from_tag(tag, source, changes, facts, field)
    elif source.kind == "ImageStreamImage":
        _from_image(tag, source, changes, facts)


def _from_tag(tag: str, source: ObjectReference, changes: Changes, facts: lookups.Facts, field: str) -> None:
    wanted = source_tag(source, changes.state.name)
    if wanted.image_stream == changes.state.name:
        _check_cycle(tag, changes, field)
        head, origin = changes.tag(wanted.tag).head, "alias"
    else:
        found = facts.sources[wanted]
        if not found.exists:
            raise Invalid.of("ImageStream", changes.state.name.name, [Fault(field, "NotFound", value=source.name)])
        head = found.head
        origin = "alias" if wanted in facts.chains else "tag"
    if head is not None:
        spec = changes.tag(tag).spec
        rewrite = wanted.image_stream != changes.state.name and not (spec and spec.reference)
        pull_spec = rewritten(head.pull_spec, wanted, changes) if rewrite else head.pull_spec
        changes.move(tag, Arrival(head.image, pull_spec, origin))


def _from_image(tag: str, source: ObjectReference, changes: Changes, facts: lookups.Facts) -> None:
    image_stream, prefix = source_image(source, changes.state.name)
    entry = facts.images[(image_stream, prefix)]
    changes.move(tag, Arrival(entry.head.image, entry.head.pull_spec, "tag"))


def rewritten(pull_spec: str, source: TagName, changes: Changes) -> str:
    """Return a pull spec of the internal registry as one of this image stream's own repository."""
    registry = changes.context.internal_registry
    old = f"{registry}/{source.image_stream}"
    if registry and pull_spec.startswith((f"{old}@", f"{old}:")):
        return f"{registry}/{changes.state.name}{pull_spec[len(old) :]}"
    return pull_spec


def check_circle(tag: str, reference: TagReference, changes: Changes, facts: lookups.Facts, field: str) -> None:
    """Refuse to follow a tag that already follows this one, over however many others."""
    if not facts.chains or reference.source is None:
        return
    own, source = TagName(changes.state.name, tag), source_tag(reference.source, changes.state.name)
    chain = facts.chains.get(source, [])
    if own in chain:
        circle = " -> ".join(str(name) for name in (own, source, *chain))
        fault = Fault(field, "Invalid", f"tags would follow each other in a circle: {circle}", str(source))
        raise _invalid(tag, changes, fault)


def _check_cycle(tag: str, changes: Changes, field: str) -> None:
    chain = [tag]
    source = changes.alias_source(tag)
    while source is not None:
        chain.append(source)
        if source in chain[:-1]:
            fault = Fault(field, "Invalid", f"aliases would go in a circle: {' -> '.join(chain)}", chain[1])
            raise _invalid(tag, changes, fault)
        source = changes.alias_source(source)


def _invalid(tag: str, changes: Changes, fault: Fault) -> Invalid:
    """Return the refusal of what was sent: a whole image stream, or one tag of it."""
    name = changes.state.name.name
    if fault.field.startswith("spec."):
        return Invalid.of("ImageStream", name, [fault])
    return Invalid.of("ImageStreamTag", f"{name}:{tag}", [fault])


def _check_labels(command: ConfigureTag, changes: Changes) -> None:
    """Raise Invalid where a request would change the labels, which are the image stream's."""
    labels = command.metadata.labels
    if labels is not None and labels != changes.state.labels:
        fault = Fault("metadata", "Invalid", "may not update fields other than metadata.annotations", "")
        raise Invalid.of("ImageStreamTag", command.metadata.name, [fault])


def check_version(version: str, changes: Changes, name: str) -> None:
    """Raise Conflict where a request is about another state than the present one, NotFound where there is none."""
    if not version:
        return
    if not changes.exists:
        raise NotFound.of("imagestreams", name)
    if version != str(changes.state.position):
        raise Conflict(f"another caller has updated the resource version to {changes.state.position}")
