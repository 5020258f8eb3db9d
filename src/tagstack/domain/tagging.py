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
    parse_tag_name,
)

SOURCE_KINDS = {
    "ImageStreamTag": ("istag", "imagestreamtag"),
    "ImageStreamImage": ("isimage", "imagestreamimage"),
    "DockerImage": ("docker", "dockerimage"),
}
REFERENCE_POLICIES = {"": "", "source": "Source", "local": "Local"}
TAG_FORM = "must be of the form [NAMESPACE/]<stream_name>:<tag>"


class TaggingError(ValueError):
    """The arguments make no command; the message says why."""


class TagOptions(msgspec.Struct, frozen=True):
    """The flags of `oc tag`; an empty one leaves the choice to the server."""

    alias: bool = False
    reference: bool = False
    scheduled: bool = False
    insecure: bool = False
    reference_policy: str = ""
    import_mode: str = ""


def parse_source(text: str, namespace: str, kind: str = "") -> ObjectReference:
    """Return what a source argument means; without `kind` it is told from its form, as `oc` does.

    `[NAMESPACE/]STREAM@IMAGE` (a prefix will do) is an ImageStreamImage, `[NAMESPACE/]STREAM:TAG` an
    ImageStreamTag, and what has a registry or no tag a DockerImage. Raises: TaggingError.
    """
    wanted = _kind_of(kind)
    if wanted in ("", "ImageStreamImage"):
        if image := _image_of(text):
            own, name = _split_namespace(image[0], namespace)
            return ObjectReference(kind="ImageStreamImage", namespace=own, name=join_image(name, image[1]))
        if wanted:
            raise TaggingError(f"--source={kind} requires a valid <name>@<id> as SRC, got {text!r}")
    if wanted != "ImageStreamTag":
        try:
            spec = pull_spec.parse(text)
        except pull_spec.PullSpecError as error:
            raise TaggingError(f"SRC {text!r} is no pull spec: {error}") from error
        if wanted or spec.registry or not spec.tag or "/" in spec.name:
            return ObjectReference(kind="DockerImage", name=text)
    try:
        own, rest = _split_namespace(text, namespace)
        parse_tag_name(rest)
    except SplitError as error:
        raise TaggingError(f"--source={kind} requires a valid <name>:<tag> as SRC, got {text!r}") from error
    return ObjectReference(kind="ImageStreamTag", namespace=own, name=rest)


def parse_destination(text: str, namespace: str, *, check: bool = True) -> TagName:
    """Return the tag a destination argument means; `check` is off where a tag is deleted.

    Raises: TaggingError.
    """
    own, rest = _split_namespace(text, namespace)
    try:
        name, tag = parse_tag_name(rest)
    except SplitError as error:
        raise TaggingError(f"{text!r} {TAG_FORM}") from error
    if check:
        check_tag_name(tag)
    return TagName(ImageStreamName(own, name), tag)


def check_tag_name(tag: str) -> None:
    """Raise TaggingError where a tag's name breaks the rule, worded as `oc tag` does."""
    if not is_tag(tag):
        raise TaggingError(f'invalid tag "{tag}" format, {TAG_RULE}')


def check_options(source: ObjectReference, options: TagOptions) -> None:
    """Raise TaggingError where flags do not fit the source or each other."""
    if options.reference_policy.lower() not in REFERENCE_POLICIES:
        raise TaggingError(f"--reference-policy must be source or local, got {options.reference_policy!r}")
    if options.alias and source.kind != "ImageStreamTag":
        raise TaggingError(f"--alias needs an image stream tag as SRC, got {source.kind} {source.name}")
    if options.alias and options.reference:
        raise TaggingError("--alias and --reference can't go together")
    for name in ("scheduled", "insecure", "import_mode"):
        if getattr(options, name) and source.kind != "DockerImage":
            flag = name.replace("_", "-")
            raise TaggingError(f"--{flag} needs a pull spec as SRC, got {source.kind} {source.name}")


def needs_image(source: ObjectReference, options: TagOptions) -> bool:
    """Return whether the source has to be resolved to its present image before it is sent."""
    return source.kind == "ImageStreamTag" and not options.alias


def pinned(source: ObjectReference, image: str) -> ObjectReference:
    """Return a source tag as the image it points at now."""
    name = join_image(parse_tag_name(source.name)[0], image)
    return ObjectReference(kind="ImageStreamImage", namespace=source.namespace, name=name)


def tag_command(source: ObjectReference, destination: TagName, options: TagOptions) -> dict[str, Any]:
    """Return the body of the command that tags one destination."""
    to = destination.image_stream
    tag: dict[str, Any] = {"from": msgspec.to_builtins(source)}
    if options.alias and ImageStreamName(source.namespace, parse_tag_name(source.name)[0]) != to:
        tag["annotations"] = {FOLLOW: "true"}
    if options.reference:
        tag["reference"] = True
    policy: dict[str, Any] = {flag: True for flag in ("insecure", "scheduled") if getattr(options, flag)}
    if options.import_mode:
        policy["importMode"] = options.import_mode
    if policy:
        tag["importPolicy"] = policy
    if reference_policy := REFERENCE_POLICIES[options.reference_policy.lower()]:
        tag["referencePolicy"] = {"type": reference_policy}
    return {"kind": "ImageStreamTag", "apiVersion": "v1", "metadata": _metadata(destination), "tag": tag}


def delete_command(destination: TagName) -> dict[str, Any]:
    """Return the body of the command that deletes one tag."""
    return {"kind": "DeleteImageStreamTag", "apiVersion": "v1", "metadata": _metadata(destination)}


def _metadata(tag: TagName) -> dict[str, str]:
    return {"name": f"{tag.image_stream.name}:{tag.tag}", "namespace": tag.image_stream.namespace}


def _kind_of(word: str) -> str:
    if not word:
        return ""
    for kind, words in SOURCE_KINDS.items():
        if word.lower() in words:
            return kind
    raise TaggingError(f"--source must be one of istag, isimage, docker; got {word!r}")


def _split_namespace(text: str, namespace: str) -> tuple[str, str]:
    own, slash, rest = text.rpartition("/")
    if "/" in own or not rest or (slash and not own):
        raise TaggingError(f"a name must be of the form [NAMESPACE/]NAME, got {text!r}")
    return own or namespace, rest


def _image_of(text: str) -> tuple[str, str] | None:
    """Split `[NAMESPACE/]STREAM@IMAGE`; None for what has no `@`, or is a pull spec with a registry."""
    stream, _, image = text.partition("@")
    first, slash, _ = stream.partition("/")
    if not stream or not image or stream.count("/") > 1 or ":" in stream:
        return None
    return None if slash and ("." in first or first == "localhost") else (stream, image)
