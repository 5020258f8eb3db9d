"""Subjects: one token per name, percent-encoded, so that `*` always matches exactly one name.

Only the canonical spelling is accepted: every byte outside `[A-Za-z0-9_-]` as `%XX` in upper case.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote_to_bytes

from tagstack.domain.errors import BadRequest
from tagstack.domain.events import (
    OF_IMAGE_STREAM,
    Event,
    ImageAnnotated,
    ImageRecorded,
    ImageSigned,
    ImageStreamEvent,
    TagEvent,
)
from tagstack.domain.names import ImageStreamName, is_digest

COMMANDS = "tagstack.commands"
QUEUE = "tagstack.queue"
DEAD = "tagstack.dead"
EVENTS = "tagstack.events"
EVERY_TAG = f"{EVENTS}.*.*.tag.*"
IMAGES = "tagstack.images"
TAGS = "tagstack.tags"
CHANGED = "tagstack.changed"
QUERIES = "tagstack.queries"
SQL = "tagstack.sql"
WORKERS = "tagstack.workers"  # between command workers: who is there
HANDED = "tagstack.handed"  # and the commands that they hand on to each other

NO_IMAGE_STREAM = ImageStreamName("_", "_")
REPLY_PREFIXES = ("_INBOX", "_R_")

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_CACHED_TOKENS_MAX = 65_536


@lru_cache(_CACHED_TOKENS_MAX)
def token(name: str) -> str:
    """Return the canonical token of a name; the empty name is `%00`."""
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in name.encode()) or "%00"


@lru_cache(_CACHED_TOKENS_MAX)
def name_of(text: str) -> str:
    """Return the name a token spells. Raises BadRequest for any but the canonical spelling."""
    try:
        name = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise BadRequest(f"subject token {text!r} is not UTF-8") from None
    if token(name) != text:
        raise BadRequest(f"subject token {text!r} is not in its canonical spelling {token(name)!r}")
    return name


@lru_cache(_CACHED_TOKENS_MAX)
def image_stream_prefix(name: ImageStreamName) -> str:
    """Return the prefix of every event subject of an image stream."""
    return f"{EVENTS}.{token(name.namespace)}.{token(name.name)}"


def image_stream_events(name: ImageStreamName) -> str:
    """Return the filter that matches every event of an image stream."""
    return image_stream_prefix(name) + ".>"


def tag_events(name: ImageStreamName, tag: str) -> str:
    """Return the subject of a tag's events."""
    return f"{image_stream_prefix(name)}.tag.{token(tag)}"


def image_prefix(image: str) -> str:
    """Return the prefix of an image's subjects."""
    if is_digest(image):
        algorithm, _, hexadecimal = image.partition(":")
        return f"{IMAGES}.{algorithm}.{hexadecimal}"
    return f"{IMAGES}.name.{token(image)}"


def event_subject(event: Event) -> str:
    """Return the subject an event is stored under."""
    match event:
        case TagEvent():
            return tag_events(ImageStreamName(event.namespace, event.image_stream), event.tag)
        case ImageStreamEvent():
            return image_stream_prefix(ImageStreamName(event.namespace, event.image_stream)) + ".stream"
        case ImageRecorded():
            return image_prefix(event.image) + ".recorded"
        case ImageAnnotated():
            return image_prefix(event.image) + ".annotations"
        case ImageSigned():
            return f"{image_prefix(event.image)}.signatures.{token(event.name)}"
    raise AssertionError(f"no subject for {type(event)}")


def event_id(event: Event, subject: str) -> str:
    """Return the event's `ce-id`, which is its `Nats-Msg-Id` too (image events carry no message id)."""
    if isinstance(event, OF_IMAGE_STREAM):
        return f"{event.namespace}/{event.image_stream}/{event.cause}/{event.number}"
    return f"{subject}/{event.cause}"


def image_stream_of(subject: str) -> ImageStreamName:
    """Return the image stream of an event's subject. Raises BadRequest for another spelling."""
    _, _, namespace, name, *_ = subject.split(".")
    return ImageStreamName(name_of(namespace), name_of(name))


def addressee(subject: str, prefix: str) -> tuple[str, ImageStreamName]:
    """Return actor and image stream of a command's subject `<prefix>.<actor>.<namespace>.<image_stream>`.

    Raises: BadRequest where the subject has other tokens or another spelling.
    """
    tokens = subject[len(prefix) + 1 :].split(".")
    if len(tokens) != 3:
        raise BadRequest(f"subject must be {prefix}.<actor>.<namespace>.<image_stream>, got {subject}")
    actor, namespace, name = (name_of(text) for text in tokens)
    return actor, ImageStreamName(namespace, name)
