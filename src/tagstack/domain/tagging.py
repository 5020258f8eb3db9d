"""`oc tag`: from its arguments to the command that is sent for each destination.

As with `oc tag`, the client resolves a source tag to its present image, unless it shall be an alias:
what was tagged is what the user saw. An alias across image streams, which OpenShift refuses, follows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain import pull_spec
from tagstack.domain.events import ObjectReference
from tagstack.domain.image_stream import FOLLOW
from tagstack.domain.names import (
    TAG_RULE,
    ImageStreamName,
    SplitError,
    TagName,
    is_tag,
    join_image,
    join_tag,
    parse_image_name,
    parse_tag_name,
)

SOURCE_KINDS = {
    **dict.fromkeys(("istag", "imagestreamtag"), "ImageStreamTag"),
    **dict.fromkeys(("isimage", "imagestreamimage"), "ImageStreamImage"),
    **dict.fromkeys(("docker", "dockerimage"), "DockerImage"),
}
REFERENCE_POLICIES = {"source": "Source", "local": "Local"}


class TaggingError(ValueError):
    """The arguments make no command; the message says why."""


class TagOptions(msgspec.Struct, frozen=True):
    """The flags of `oc tag`."""

    alias: bool = False
    reference: bool = False
    scheduled: bool = False
    insecure: bool = False
    reference_policy: str = "source"
    import_mode: str = "Legacy"


def parse_source(text: str, namespace: str, kind: str = "") -> ObjectReference:
    """Return what a source argument means; without `kind` it is told from its form.

    With a registry it is a DockerImage, with a digest an ImageStreamImage, else an ImageStreamTag.
    Raises: TaggingError.
    """
    wanted = SOURCE_KINDS.get(kind.lower(), "") if kind else ""
    if kind and not wanted:
        raise TaggingError(f'invalid source "{kind}": use istag, isimage or docker')
    try:
        parsed = pull_spec.parse(text)
    except pull_spec.PullSpecError as error:
        raise TaggingError(f'invalid source "{text}": {error}') from error
    if not wanted:
        wanted = "DockerImage" if parsed.registry else "ImageStreamImage" if parsed.id else "ImageStreamTag"
    if wanted == "DockerImage":
        return ObjectReference(kind=wanted, name=text)
    if parsed.registry or "/" in parsed.name:
        raise TaggingError(f'invalid source "{text}": an image stream is written [namespace/]name')
    if wanted == "ImageStreamImage":
        if not parsed.id:
            raise TaggingError(f'invalid source "{text}": expected exactly one @ in the isimage name')
        name = join_image(parsed.name, parsed.id)
    else:
        name = join_tag(parsed.name, parsed.tag)
    return ObjectReference(kind=wanted, namespace=parsed.namespace or namespace, name=name)


def parse_destination(text: str, namespace: str, *, check: bool = True) -> TagName:
    """Return the tag a destination argument means; `check` is off where a tag is deleted.

    Raises: TaggingError.
    """
    own, slash, rest = text.partition("/")
    name, _, tag = (rest if slash else text).partition(":")
    target = TagName(ImageStreamName(own if slash else namespace, name), tag or "latest")
    if not name or not target.image_stream.namespace or "/" in rest:
        raise TaggingError(f'invalid destination "{text}": a tag is written [namespace/]name:tag')
    if check:
        check_tag_name(target.tag)
    return target


def check_tag_name(tag: str) -> None:
    """Raise TaggingError where a tag's name breaks the rule, worded as `oc tag` does."""
    if not is_tag(tag):
        raise TaggingError(f'invalid tag "{tag}" format, {TAG_RULE}')


def needs_image(source: ObjectReference, options: TagOptions) -> bool:
    """Return whether the source has to be resolved to its present image before it is sent."""
    return source.kind == "ImageStreamTag" and not options.alias


def pinned(source: ObjectReference, image: str) -> ObjectReference:
    """Return a source tag as the image it points at now."""
    stream, _ = parse_tag_name(source.name)
    return ObjectReference(kind="ImageStreamImage", namespace=source.namespace, name=join_image(stream, image))


def tag_command(source: ObjectReference, destination: TagName, options: TagOptions) -> dict[str, Any]:
    """Return the body of the command that tags one destination. Raises TaggingError."""
    policy = REFERENCE_POLICIES.get(options.reference_policy.lower())
    if policy is None:
        raise TaggingError(f'invalid reference policy "{options.reference_policy}": use source or local')
    if options.alias and source.kind != "ImageStreamTag":
        raise TaggingError("--alias follows a tag: the source must be an image stream tag")
    tag: dict[str, Any] = {
        "from": msgspec.to_builtins(source),
        "reference": options.reference,
        "importPolicy": {
            "insecure": options.insecure,
            "scheduled": options.scheduled,
            "importMode": options.import_mode,
        },
        "referencePolicy": {"type": policy},
    }
    metadata = {"name": f"{destination.image_stream.name}:{destination.tag}"}
    metadata["namespace"] = destination.image_stream.namespace
    body: dict[str, Any] = {"kind": "ImageStreamTag", "apiVersion": "v1", "metadata": metadata, "tag": tag}
    if options.alias and _image_stream_of(source) != destination.image_stream:
        body["metadata"]["annotations"] = {FOLLOW: "true"}
    return body


def delete_command(destination: TagName) -> dict[str, Any]:
    """Return the body of the command that deletes one tag."""
    name, namespace = f"{destination.image_stream.name}:{destination.tag}", destination.image_stream.namespace
    return {"kind": "DeleteImageStreamTag", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}}


def _image_stream_of(source: ObjectReference) -> ImageStreamName:
    try:
        name, _ = parse_tag_name(source.name)
    except SplitError:
        name, _ = parse_image_name(source.name)
    return ImageStreamName(source.namespace, name)
