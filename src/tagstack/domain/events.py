"""The facts of the log. Their type strings and field names are stored for ever; a class may be renamed.

An event on a tag carries the tag's whole state after it (`head`, `spec`, `hold`, `uid`), so that the
last one is enough to know the tag. Times are RFC 3339 in UTC with microseconds, so they sort as text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.values import Head as Head
from tagstack.domain.values import Hold as Hold
from tagstack.domain.values import ImportPolicy as ImportPolicy
from tagstack.domain.values import ObjectReference as ObjectReference
from tagstack.domain.values import Provenance as Provenance
from tagstack.domain.values import ReferencePolicy as ReferencePolicy
from tagstack.domain.values import TagSpec as TagSpec
from tagstack.domain.values import Withheld as Withheld

EVENT_VERSION = 1


class Event(msgspec.Struct, tag_field="type", rename="camel", kw_only=True):
    """What every event says: who, when, why, because of what.

    `cause` is the command's id, `number` counts the events of that command from 1, `last` marks its
    last one, `caused_by` is the log position of the event a follower follows.
    """

    time: str
    actor: str
    cause: str
    number: int
    origin: str
    reason: str
    caused_by: int | None
    last: bool
    version: int


class ImageRecorded(Event, tag="image_recorded"):
    """An image is known from now on. `data` is OpenShift's Image object, metadata derived."""

    image: str
    data: dict[str, Any]


class ImageAnnotated(Event, tag="image_annotated"):
    """Annotations beside an image; the whole map after the change."""

    image: str
    annotations: dict[str, str]


class ImageSigned(Event, tag="image_signed"):
    """A signature beside an image. `data` is OpenShift's ImageSignature object."""

    image: str
    name: str
    data: dict[str, Any]


class ImageStreamEvent(Event):
    """An event of the image stream itself, carrying its whole state (tags excepted)."""

    namespace: str
    image_stream: str
    uid: str
    generation: int
    created: str
    labels: dict[str, str]
    annotations: dict[str, str]
    lookup_local: bool
    docker_image_repository: str


class ImageStreamCreated(ImageStreamEvent, tag="image_stream_created"):
    """The image stream exists, with a new uid."""


class ImageStreamUpdated(ImageStreamEvent, tag="image_stream_updated"):
    """Labels, annotations, lookup policy or repository changed."""


class ImageStreamDeleted(ImageStreamEvent, tag="image_stream_deleted"):
    """The image stream and every tag of its uid are gone from the current view."""


class TagEvent(Event):
    """An event of one tag, carrying the tag's whole state after it.

    `image` and `pull_spec` are the head's after the event (null where the tag points at nothing),
    `previous_image` the head's before it; `generation` is the image stream's.
    """

    namespace: str
    image_stream: str
    tag: str
    uid: str
    generation: int
    image: str | None
    previous_image: str | None
    pull_spec: str | None
    head: Head | None
    spec: TagSpec | None
    hold: Hold | None


class TagConfigured(TagEvent, tag="tag_configured"):
    """The tag's spec changed; a spec of null is a removed one."""


class ImageTagged(TagEvent, tag="image_tagged"):
    """The tag moved to an image, or the head's pull spec changed (then `image` equals `previous_image`)."""


class PushWithheld(TagEvent, tag="push_withheld"):
    """An image arrived while the tag was held: `hold.withheld` names it, the head stays."""


class TagHeld(TagEvent, tag="tag_held"):
    """The tag moves by nothing but a rollback or a release from now on."""


class TagReleased(TagEvent, tag="tag_released"):
    """The hold is over."""


class TagDeleted(TagEvent, tag="tag_deleted"):
    """The tag is gone from the current view; its history stays."""


OF_IMAGE_STREAM = (TagEvent, ImageStreamEvent)  # for isinstance, which takes longer to put a union together

AnyTagEvent = TagConfigured | ImageTagged | PushWithheld | TagHeld | TagReleased | TagDeleted
AnyImageStreamEvent = ImageStreamCreated | ImageStreamUpdated | ImageStreamDeleted
AnyImageEvent = ImageRecorded | ImageAnnotated | ImageSigned
AnyEvent = AnyTagEvent | AnyImageStreamEvent | AnyImageEvent
