"""Names, parsed once at the edge: namespaces, image streams, tags, images, and their references."""

from __future__ import annotations

import re

import msgspec

from tagstack.domain.errors import BadRequest, Fault

NAMESPACE_LENGTH_MAX = 63
IMAGE_STREAM_LENGTH_MAX = 63
ACTOR_LENGTH_MAX = 253
IMAGE_NAME_LENGTH_MAX = 63
DEFAULT_TAG = "latest"

IMAGE_STREAM_PATTERN = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_IMAGE_STREAM = re.compile(IMAGE_STREAM_PATTERN)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")

NAMESPACE_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
    "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
TAG_RULE = (
    "tags must start with an alphanumeric character followed by alphanumeric, "
    "'.' or '-' characters, and have a maximum of 128 characters"
)


class ImageStreamName(msgspec.Struct, frozen=True, order=True):
    """The pair that names an image stream."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class TagName(msgspec.Struct, frozen=True, order=True):
    """One tag of one image stream, written `namespace/image_stream:tag`."""

    image_stream: ImageStreamName
    tag: str

    def __str__(self) -> str:
        return f"{self.image_stream}:{self.tag}"


def is_digest(image: str) -> bool:
    """Return whether an image's name is a whole digest."""
    return _DIGEST.fullmatch(image) is not None


def is_tag(tag: str) -> bool:
    """Return whether a tag keeps the rule that `oc tag` checks, and here the server."""
    return _TAG.fullmatch(tag) is not None


def namespace_faults(namespace: str, field: str = "metadata.namespace") -> list[Fault]:
    """Return what is wrong with a namespace: a DNS-1123 label of at most 63 characters."""
    if not namespace:
        return [Fault(field, "Required")]
    faults = []
    if not _NAMESPACE.fullmatch(namespace):
        faults.append(Fault(field, "Invalid", NAMESPACE_RULE, namespace))
    if len(namespace) > NAMESPACE_LENGTH_MAX:
        faults.append(Fault(field, "Invalid", f"must be no more than {NAMESPACE_LENGTH_MAX} characters", namespace))
    return faults


def image_stream_faults(name: str, field: str = "metadata.name") -> list[Fault]:
    """Return what is wrong with an image stream's name; the first broken rule only, as OpenShift."""
    well_formed = _IMAGE_STREAM.fullmatch(name)
    if well_formed and len(name) <= IMAGE_STREAM_LENGTH_MAX:
        return []
    if not name:
        return [Fault(field, "Required", "name or generateName is required")]
    if name in (".", ".."):
        return [Fault(field, "Invalid", f"may not be '{name}'", name)]
    for char in "/%":
        if char in name:
            return [Fault(field, "Invalid", f"may not contain '{char}'", name)]
    if not well_formed:
        return [Fault(field, "Invalid", f'must match "{IMAGE_STREAM_PATTERN}"', name)]
    return [Fault(field, "Invalid", f"must be no more than {IMAGE_STREAM_LENGTH_MAX} characters", name)]


def tag_faults(tag: str, field: str = "tag") -> list[Fault]:
    """Return what is wrong with a tag's name."""
    if not tag:
        return [Fault(field, "Required")]
    return [] if is_tag(tag) else [Fault(field, "Invalid", TAG_RULE, tag)]


class SplitError(ValueError):
    """A name of two parts does not have them; the message is OpenShift's."""


def parse_tag_name(name: str) -> tuple[str, str]:
    """Return the image stream and tag in `stream:tag`. Raises SplitError."""
    if "@" in name:
        raise SplitError(f'"{name}" is an image stream image, not an image stream tag')
    parts = name.split(":")
    if len(parts) != 2:
        raise SplitError(f'expected exactly one : delimiter in the istag "{name}"')
    if not all(parts):
        raise SplitError(f'image stream tag name "{name}" must have a name and a tag')
    return parts[0], parts[1]


def parse_image_name(name: str) -> tuple[str, str]:
    """Return the image stream and image in `stream@image`. Raises SplitError."""
    parts = name.split("@")
    if len(parts) != 2:
        raise SplitError(f'expected exactly one @ in the isimage name "{name}"')
    if not all(parts):
        raise SplitError(f'image stream image name "{name}" must have a name and ID')
    return parts[0], parts[1]


def split_tag(name: str) -> tuple[str, str]:
    """Split `stream:tag` as given in a request. Raises BadRequest worded as OpenShift's."""
    try:
        return parse_tag_name(name)
    except SplitError as error:
        raise BadRequest("ImageStreamTags must be retrieved with <name>:<tag>") from error


def split_image(name: str) -> tuple[str, str]:
    """Split `stream@image` as given in a request. Raises BadRequest worded as OpenShift's."""
    try:
        return parse_image_name(name)
    except SplitError as error:
        raise BadRequest("ImageStreamImages must be retrieved with <name>@<id>") from error


def join_tag(image_stream: str, tag: str) -> str:
    """Return `stream:tag`; no tag means latest."""
    return f"{image_stream}:{tag or DEFAULT_TAG}"


def join_image(image_stream: str, image: str) -> str:
    """Return `stream@image`."""
    return f"{image_stream}@{image}"


def image_matches(image: str, prefix: str) -> bool:
    """Return whether `prefix` means `image`: a prefix of the whole name, or of a digest's hex part.

    Source: library-go DigestOrImageMatch.
    """
    if image.startswith(prefix):
        return True
    return is_digest(image) and image.partition(":")[2].startswith(prefix)
