"""The kinds of objects as typed: `is`, `istag`, `isimage`, `image` and their long names."""

from __future__ import annotations

from tagstack.cli.failures import UsageError

_NAMES = {
    "ImageStream": ("is", "imagestream", "imagestreams"),
    "ImageStreamTag": ("istag", "ist", "istags", "imagestreamtag", "imagestreamtags"),
    "ImageTag": ("itag", "itags", "imagetag", "imagetags"),
    "ImageStreamImage": ("isimage", "isi", "isimages", "imagestreamimage", "imagestreamimages"),
    "Image": ("image", "images"),
}
_SUFFIX = ".image.openshift.io"


def kind_of(resource: str, allowed: tuple[str, ...]) -> str:
    """Return the kind that a word means. Raises UsageError naming the words there are."""
    word = resource.lower().removesuffix(_SUFFIX)
    for kind in allowed:
        if word in _NAMES[kind]:
            return kind
    there_are = ", ".join(_NAMES[kind][0] for kind in allowed)
    raise UsageError(f"resource must be one of {there_are}; got {resource!r}")


def split_resource(word: str) -> tuple[str, str]:
    """Split `istag/NAME`, as oc writes it, into resource and name; the name is empty in a bare resource."""
    resource, _, name = word.partition("/")
    return resource, name
