"""From wish to fact: a changed spec tag is stored, and the image it names arrives at the tag.

Source of the rules: OpenShift's image stream strategy (tagsChanged), with live aliases that are
transitive, and without its dependence on the order of a map.
"""

from __future__ import annotations

import msgspec

from tagstack.domain import lookups
from tagstack.domain.changes import Arrival, Changes
from tagstack.domain.commands import ConfigureTag, PutImageStream, TagReference
from tagstack.domain.errors import Conflict, Fault, Invalid, NotFound
from tagstack.domain.events import ObjectReference, ReferencePolicy, TagSpec
from tagstack.domain.names import TagName, split_tag


def configure_tag(command: ConfigureTag, changes: Changes, facts: lookups.Facts) -> None:
    """Create or replace the spec of one tag; without `tag` only its annotations."""
    name, tag = split_tag(command.metadata.name)
    _check_version(command.metadata.resource_version, changes, name)
    changes.create()
    reference = command.tag
    if reference is None:
        spec = changes.tag(tag).spec
        if spec is None or command.metadata.annotations is None:
            return
        reference = _reference_of(spec)
    if command.metadata.annotations is not None:
        reference = msgspec.structs.replace(reference, annotations=command.metadata.annotations)
    _check_circle(tag, reference, changes, facts, "tag.from.name")
    if _put_spec(tag, reference, changes):
        _to_status(tag, changes, facts, "tag.from.name")


def put_image_stream(command: PutImageStream, changes: Changes, facts: lookups.Facts) -> None:
    """Create or replace an image stream: its metadata, policies and every spec tag."""
    name = command.metadata.name
    _check_version(command.metadata.resource_version, changes, name)
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
        _check_circle(tag, reference, changes, facts, f"spec.tags[{tag}].from.name")
    touched = [tag for tag in sorted(wanted) if _put_spec(tag, wanted[tag], changes)]
    for tag in touched:
        _to_status(tag, changes, facts, f"spec.tags[{tag}].from.name")


def reference_changed(old: TagSpec | None, new: TagSpec, namespace: str) -> bool:
    """Return whether a new spec names another source, so that the tag has to move.

    Source: tagRefChanged, which does not compare `from.kind`; here it is compared.
    """
    if new.source is None or not (new.source.kind or new.source.name):
        return False
    if old is None or old.source is None:
        return True
    identity = [
        (spec.source.kind, spec.source.namespace or namespace, spec.source.name) for spec in (old, new) if spec.source
    ]
    return (
        identity[0] != identity[1]
        or old.reference != new.reference
        or old.import_policy.import_mode != new.import_policy.import_mode
    )


def _put_spec(tag: str, reference: TagReference, changes: Changes) -> bool:
    """Store a spec that differs; return whether the tag has to look for its image again."""
    old = changes.tag(tag).spec
    new = TagSpec(
        source=reference.source,
        reference=bool(reference.reference),
        generation=old.generation if old else None,
        import_policy=reference.import_policy,
        reference_policy=reference.reference_policy or ReferencePolicy(),
        annotations=reference.annotations or {},
    )
    again = old is not None and reference.generation == 0 and bool(old.generation)
    if old == new and new.generation is not None and not again:
        return False
    changes.configure(tag, msgspec.structs.replace(new, generation=changes.raise_generation()))
    return again or reference_changed(old, new, changes.state.name.namespace)


def _to_status(tag: str, changes: Changes, facts: lookups.Facts, field: str) -> None:
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
    wanted = lookups.source_tag(source, changes.state.name)
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
    image_stream, prefix = lookups.source_image(source, changes.state.name)
    entry = facts.images[(image_stream, prefix)]
    changes.move(tag, Arrival(entry.head.image, entry.head.pull_spec, "tag"))


def rewritten(pull_spec: str, source: TagName, changes: Changes) -> str:
    """Return a pull spec of the internal registry as one of this image stream's own repository."""
    registry = changes.context.internal_registry
    old = f"{registry}/{source.image_stream}"
    if registry and pull_spec.startswith((f"{old}@", f"{old}:")):
        return f"{registry}/{changes.state.name}{pull_spec[len(old) :]}"
    return pull_spec


def _check_circle(tag: str, reference: TagReference, changes: Changes, facts: lookups.Facts, field: str) -> None:
    """Refuse to follow a tag that already follows this one, over however many others."""
    if not facts.chains or reference.source is None:
        return
    own, source = TagName(changes.state.name, tag), lookups.source_tag(reference.source, changes.state.name)
    chain = facts.chains.get(source, [])
    if own in chain:
        circle = " -> ".join(str(name) for name in (own, source, *chain))
        fault = Fault(field, "Invalid", f"tags would follow each other in a circle: {circle}", str(source))
        raise Invalid.of("ImageStreamTag", f"{changes.state.name.name}:{tag}", [fault])


def _check_cycle(tag: str, changes: Changes, field: str) -> None:
    chain = [tag]
    source = changes.alias_source(tag)
    while source is not None:
        chain.append(source)
        if source in chain[:-1]:
            fault = Fault(field, "Invalid", f"aliases would go in a circle: {' -> '.join(chain)}", chain[1])
            raise Invalid.of("ImageStreamTag", f"{changes.state.name.name}:{tag}", [fault])
        source = changes.alias_source(source)


def _reference_of(spec: TagSpec) -> TagReference:
    return TagReference(
        annotations=spec.annotations,
        source=spec.source,
        reference=spec.reference,
        generation=spec.generation,
        import_policy=spec.import_policy,
        reference_policy=spec.reference_policy,
    )


def _check_version(version: str, changes: Changes, name: str) -> None:
    if not version:
        return
    if not changes.exists:
        raise NotFound.of("imagestreams", name)
    if version != str(changes.state.position):
        raise Conflict(f"another caller has updated the resource version to {changes.state.position}")
