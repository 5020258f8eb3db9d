"""Names as typed: `[NAMESPACE/]STREAM[:TAG]`, `[NAMESPACE/]STREAM@IMAGE`, and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tagstack.cli.failures import UsageError
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.times import canonical, text_of

_AGE = re.compile(r"(\d+)(s|m|h|d|w)(?: ago)?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def split_namespace(text: str, namespace: str) -> tuple[str, str]:
    """Return the namespace and what it holds; `namespace` where the text names none.

    Raises: UsageError for more than one `/`, or nothing on one side of it.
    """
    parts = text.split("/")
    if len(parts) > 2 or not all(parts):
        raise UsageError(f"a name must be of the form [NAMESPACE/]NAME, got {text!r}")
    return (parts[0], parts[1]) if len(parts) == 2 else (namespace, parts[0])


def image_stream_name(text: str, namespace: str) -> ImageStreamName:
    """Return the image stream that a reference without tag and image means."""
    space, name = split_namespace(text, namespace)
    if ":" in name or "@" in name:
        raise UsageError(f"an image stream must be of the form [NAMESPACE/]STREAM, got {text!r}")
    return ImageStreamName(space, name)


def tag_name(text: str, namespace: str) -> TagName:
    """Return the tag that a reference means. Raises UsageError for any but `[NAMESPACE/]STREAM:TAG`."""
    space, name = split_namespace(text, namespace)
    stream, colon, tag = name.partition(":")
    if not (stream and tag) or ":" in tag or "@" in name or not colon:
        raise UsageError(f"{text!r} must be of the form [NAMESPACE/]<stream_name>:<tag>")
    return TagName(ImageStreamName(space, stream), tag)


def is_tag_reference(text: str) -> bool:
    """Return whether a reference names a tag."""
    return ":" in text and "@" not in text


def moment(text: str) -> str:
    """Return a time as the log writes it: RFC 3339 or a date (UTC without a zone), `now`, or an age as `2h`.

    Raises: UsageError for anything else.
    """
    now = datetime.now(UTC)
    if text == "now":
        return text_of(now)
    if age := _AGE.fullmatch(text):
        try:
            return text_of(now - timedelta(**{_UNITS[age[2]]: int(age[1])}))
        except OverflowError:
            raise UsageError(f"time: {text!r} is before all times") from None
    try:
        return canonical(text)
    except ValueError:
        raise UsageError(
            f"time: must be RFC 3339 (2026-01-31T12:00:00Z), a date, `now`, or an age (90s, 15m, 2h, 7d), got {text!r}"
        ) from None


def image_of(text: str) -> tuple[str, str] | None:
    """Split `[NAMESPACE/]STREAM@IMAGE`; None for what has no `@`, or is a pull spec with a registry."""
    stream, at, image = text.partition("@")
    first, slash, _ = stream.partition("/")
    if not at or not stream or not image or stream.count("/") > 1 or ":" in stream:
        return None
    return None if slash and ("." in first or first == "localhost") else (stream, image)
