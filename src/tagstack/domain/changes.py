"""One command's changes to an image stream: it is created, its tags are configured, moved, held, deleted.

A tag that moves takes along the tags that follow it, unless they are held.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec

from tagstack.domain.arrival import Arrival as Arrival
from tagstack.domain.arrival import Context as Context
from tagstack.domain.draft import TAGS_PER_COMMAND_MAX as TAGS_PER_COMMAND_MAX
from tagstack.domain.draft import Draft
from tagstack.domain.errors import Forbidden
from tagstack.domain.events import (
    Hold,
    ImageStreamCreated,
    ImageStreamUpdated,
    ImageTagged,
    PushWithheld,
    TagConfigured,
    TagDeleted,
    TagHeld,
    TagReleased,
    TagSpec,
)
from tagstack.domain.image_stream import Tag
from tagstack.domain.sources import alias_source


class Changes(Draft):
    """What a command can do to an image stream; each act adds its events to the draft."""

    def create(self, **given: Any) -> None:
        """Create the image stream unless it exists."""
        if self.exists:
            return
        self.exists, self.uid, self.generation = True, self.context.uid, 1
        fields = {"labels": {}, "annotations": {}, "lookup_local": False, "docker_image_repository": ""} | given
        self.put_image_stream(ImageStreamCreated, created=self.time, **fields)

    def update(self, **given: Any) -> None:
        """Replace labels, annotations, lookup policy or repository, if any differs."""
        stored = {field: getattr(self.state, field) for field in given}
        if stored == given:
            return
        if any(stored[field] != given[field] for field in ("lookup_local", "docker_image_repository")):
            self.raise_generation()
        self.put_image_stream(ImageStreamUpdated, created=self.state.created, **given)

    def raise_generation(self) -> int:
        """Return the generation of a command that changes the spec: one more than before, once."""
        created = any(isinstance(event, ImageStreamCreated) for event in self.events)
        if self.generation == self.state.generation and not created:
            self.generation += 1
        return self.generation

    def configure(self, name: str, spec: TagSpec | None) -> None:
        """Replace a tag's spec. Without one a tag that never had an image is gone, and its hold with it."""
        tag = msgspec.structs.replace(self.tag(name), spec=spec)
        self.put_tag(name, TagConfigured, msgspec.structs.replace(tag, hold=None) if tag.gone else tag)

    def complete_generations(self) -> None:
        """Give every spec that has no generation yet the image stream's."""
        for name in self.names():
            spec = self.tag(name).spec
            if spec is not None and spec.generation is None:
                self.configure(name, msgspec.structs.replace(spec, generation=self.generation))

    def move(self, name: str, arrival: Arrival) -> None:
        """Let an image arrive at a tag, and at the tags that follow it, in name order.

        Raises: Forbidden where the tag is protected and points at another image.
        """
        if self._arrive(name, arrival):
            self.follow(name, arrival)

    def follow(self, name: str, arrival: Arrival) -> None:
        """Let what arrived at a tag arrive at the tags that follow it, transitively, in name order."""
        waiting = self.followers(name)[::-1]
        following = arrival.follows() if waiting else arrival
        while waiting:  # ends: aliases never go in a circle
            follower = waiting.pop()
            if self._arrive(follower, following):
                waiting += self.followers(follower)[::-1]

    def followers(self, name: str) -> list[str]:
        """Return the tags whose spec is a live alias of a tag of this image stream, in order."""
        known = {*self.state.aliases, *self._tags} if self.uid == self.state.uid else {*self._tags}
        known.discard(name)
        return sorted([other for other in known if self.alias_source(other) == name]) if known else []

    def alias_source(self, name: str) -> str | None:
        """Return the tag of this image stream that a tag follows, if it follows one."""
        return alias_source(self.tag(name).spec, self.state.name)

    def hold(self, name: str) -> None:
        """Hold a tag, unless it is held."""
        tag = self.tag(name)
        if tag.hold is None:
            self.put_tag(name, TagHeld, msgspec.structs.replace(tag, hold=self.new_hold()))

    def new_hold(self) -> Hold:
        """Return a hold by this command's actor from now on."""
        return Hold(since=self.time, actor=self.context.actor, reason=self.context.reason)

    def release(self, name: str) -> None:
        """End a hold and forget what it withheld."""
        self.put_tag(name, TagReleased, msgspec.structs.replace(self.tag(name), hold=None))

    def delete(self, name: str) -> None:
        """Remove a tag from the current view."""
        if self.tag(name).spec is not None:
            self.raise_generation()
        self.put_tag(name, TagDeleted, Tag(self.uid))

    def protection(self, name: str) -> str | None:
        """Return the pattern that forbids a set tag to move, if one does."""
        if not self.state.protected or self.tag(name).head is None:
            return None
        return next((pattern for pattern in self.state.protected if fnmatchcase(name, pattern)), None)

    def _arrive(self, name: str, arrival: Arrival) -> bool:
        tag = self.tag(name)
        head = tag.head
        same = head is not None and head.image == arrival.image
        if not same and (pattern := self.protection(name)):
            raise Forbidden(
                f'imagestreamtags "{self.state.name}:{name}" is forbidden: the image stream protects tags '
                f'"{pattern}": once set they never move (it points at {head.image if head else ""})'
            )
        if tag.hold is not None and arrival.origin not in ("rollback", "release"):
            self._withhold(name, tag, tag.hold, arrival)
            return False
        if head is None or not same:
            new = arrival.head(self.context, self.time, self.generation)
        elif head.pull_spec == arrival.pull_spec:
            return False
        else:
            new = msgspec.structs.replace(head, pull_spec=arrival.pull_spec, generation=self.generation)
        hold = None if arrival.origin == "release" else arrival.hold or tag.hold
        self.put_tag(name, ImageTagged, msgspec.structs.replace(tag, head=new, hold=hold), arrival.origin)
        return True

    def _withhold(self, name: str, tag: Tag, hold: Hold, arrival: Arrival) -> None:
        wanted = hold.withheld or tag.head
        if wanted is not None and (wanted.image, wanted.pull_spec) == (arrival.image, arrival.pull_spec):
            return
        withheld = arrival.withheld(self.context, self.time)
        held = msgspec.structs.replace(hold, withheld=withheld, withheld_count=hold.withheld_count + 1)
        self.put_tag(name, PushWithheld, msgspec.structs.replace(tag, hold=held), arrival.origin)
