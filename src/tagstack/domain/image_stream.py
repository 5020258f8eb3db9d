"""The state of one image stream and how events change it.

The state is folded in place: copying thousands of tags for every push would cost more than it buys.
It is loaded from the last event of each subject, since a tag event carries its tag's whole state.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tagstack.domain.events import (
    Event,
    Head,
    Hold,
    ImageStreamDeleted,
    ImageStreamEvent,
    TagEvent,
    TagSpec,
)
from tagstack.domain.names import ImageStreamName
from tagstack.domain.sources import alias_source

PROTECTED_TAGS = "tagstack.dev/protected-tags"
FOLLOW = "tagstack.dev/follow"


class Tag(msgspec.Struct):
    """What is known of one tag: where it points, what it should, and who holds it.

    `uid` is the image stream's when its last event was written.
    """

    uid: str
    head: Head | None = None
    spec: TagSpec | None = None
    hold: Hold | None = None

    @property
    def gone(self) -> bool:
        """Return whether nothing is left of the tag in the current view."""
        return self.head is None and self.spec is None


class ImageStream(msgspec.Struct):
    """One image stream: the aggregate. `position` is the log position of its last event, 0 for none.

    `time` is the newest event's time; no later event may carry an earlier one. While a deleted image
    stream still has tags, their `tag_deleted` events are owed and come before anything else.
    `aliases` is the source of every tag that follows another one live. `ends` is the position of the last
    event of each tag that ever was, and under "" of the image stream itself.
    """

    name: ImageStreamName
    uid: str = ""
    exists: bool = False
    generation: int = 0
    created: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    lookup_local: bool = False
    docker_image_repository: str = ""
    tags: dict[str, Tag] = {}
    aliases: dict[str, str] = {}
    position: int = 0
    ends: dict[str, int] = {}
    time: str = ""
    last_event: ImageStreamEvent | None = None

    @property
    def protected(self) -> list[str]:
        """Return the patterns of tags that never move once set."""
        declared = self.annotations.get(PROTECTED_TAGS)
        return [pattern.strip() for pattern in declared.split(",") if pattern.strip()] if declared else []

    def tag(self, name: str) -> Tag:
        """Return a tag's state; an empty one where there is none."""
        return self.tags.get(name) or Tag(self.uid)

    def previous(self, events: Iterable[Event]) -> list[int]:
        """Return for each event the position of the last one of the same tag, or of the image stream; 0 for none."""
        return [self.ends.get(_key(event), 0) for event in events]


def evolve(state: ImageStream, event: Event, position: int) -> ImageStream:
    """Fold one event, stored at `position` (0 while it is not known), into the state and return it."""
    if isinstance(event, ImageStreamEvent):
        _evolve_image_stream(state, event)
    elif isinstance(event, TagEvent):
        _evolve_tag(state, event, position)
    else:
        return state
    if position:
        state.ends[_key(event)] = position
    state.position = max(state.position, position)
    state.time = max(state.time, event.time)
    return state


def load(name: ImageStreamName, events: Iterable[tuple[int, Event]]) -> ImageStream:
    """Return the state told by the last event of each of an image stream's subjects, in any order.

    The image stream's own event is folded first: it decides which tags are of the present uid.
    """
    state = ImageStream(name)
    for position, event in sorted(events, key=lambda stored: (isinstance(stored[1], TagEvent), stored[0])):
        evolve(state, event, position)
    return state


def _key(event: Event) -> str:
    return event.tag if isinstance(event, TagEvent) else ""


def _evolve_image_stream(state: ImageStream, event: ImageStreamEvent) -> None:
    if event.uid != state.uid:
        state.tags.clear()
        state.aliases.clear()
    state.exists = not isinstance(event, ImageStreamDeleted)
    state.uid, state.created = event.uid, event.created
    state.generation = event.generation
    state.labels, state.annotations = event.labels, event.annotations
    state.lookup_local = event.lookup_local
    state.docker_image_repository = event.docker_image_repository
    state.last_event = event


def _evolve_tag(state: ImageStream, event: TagEvent, position: int) -> None:
    if event.uid != state.uid:
        return
    head = event.head
    if head is not None and head.position == 0:
        head = msgspec.structs.replace(head, position=position)
    tag = Tag(event.uid, head, event.spec, event.hold)
    if tag.gone:
        state.tags.pop(event.tag, None)
    else:
        state.tags[event.tag] = tag
    if source := alias_source(event.spec, state.name):
        state.aliases[event.tag] = source
    else:
        state.aliases.pop(event.tag, None)
    state.generation = max(state.generation, event.generation)
