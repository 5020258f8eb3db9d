"""Followers across image streams: which tags follow which, and the commands that move them.

What if it dies between a source's event and its follower's? The event is heard again, and the
command's id, made of the source's position and the follower, makes the move happen once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from tagstack.application.ports import Log, Request
from tagstack.application.replies import Outcome
from tagstack.domain.errors import Refused, TagstackError
from tagstack.domain.events import Event, Head, TagConfigured, TagEvent, TagSpec
from tagstack.domain.following import HOPS_MAX, FollowTag, command_id, followed
from tagstack.domain.names import ImageStreamName, TagName

RETRY_WAIT_S = 0.5

_log = logging.getLogger(__name__)

Follow = Callable[[FollowTag, Request], Awaitable[Outcome]]


class Heard(msgspec.Struct, rename="camel"):
    """What followers need of a tag event; the rest is not decoded."""

    type: str
    namespace: str
    image_stream: str
    tag: str
    actor: str
    reason: str = ""
    time: str = ""
    cause: str = ""
    caused_by: int | None = None
    spec: TagSpec | None = None

    @property
    def name(self) -> TagName:
        """Return the tag."""
        return TagName(ImageStreamName(self.namespace, self.image_stream), self.tag)


class Because(msgspec.Struct, frozen=True):
    """Why a follower moves: an event of its source, at `position`, or that it began to follow.

    In the second case `head` is where its source points, `since` the position at which it began, and
    `configured_by` the id of the command that said so.
    """

    position: int
    event: Heard
    since: int
    head: Head | None = None
    configured_by: str = ""


class Followers:
    """Knows every follower, and moves it when its source has moved."""

    def __init__(self, log: Log, follow: Follow) -> None:
        self._log = log
        self._follow = follow
        self._source_of: dict[TagName, tuple[TagName | None, int]] = {}
        self._followers_of: dict[TagName, set[TagName]] = {}
        self.moved = 0
        self.refused = 0

    def forget(self) -> None:
        """Forget every follower, before they are learned anew."""
        self._source_of.clear()
        self._followers_of.clear()

    def learn(self, position: int, event: Heard) -> None:
        """Take in what a tag event says about whom its tag follows; an older event changes nothing."""
        name = event.name
        source = followed(event.spec, name.image_stream)
        old, known = self._source_of.get(name, (None, 0))
        if position <= known or (source is None and known == 0):
            return
        self._source_of[name] = (source, position)
        if old == source:
            return
        if old is not None:
            self._followers_of[old].discard(name)
        if source is not None:
            self._followers_of.setdefault(source, set()).add(name)

    def ignores(self, event: Event) -> bool:
        """Return whether an event teaches nothing and moves nothing: nobody follows its tag, which follows nobody."""
        if not isinstance(event, TagEvent):
            return True
        if isinstance(event, TagConfigured):
            return False
        if not self._source_of and event.spec is None:
            return True
        name = TagName(ImageStreamName(event.namespace, event.image_stream), event.tag)
        if name in self._source_of or name in self._followers_of:
            return False
        return followed(event.spec, name.image_stream) is None

    def concerns(self, event: Heard) -> bool:
        """Return whether an event, learned already, may move a tag that follows; hardly any does."""
        return event.type == "tag_configured" or (event.type == "image_tagged" and event.name in self._followers_of)

    async def hear(self, position: int, event: Heard) -> None:
        """Move what follows an event's tag. Returns when all of that is stored."""
        name = event.name
        if event.type == "image_tagged":
            for follower in sorted(self._followers_of.get(name, ())):
                await self._move(follower, name, Because(position, event, position))
        elif event.type == "tag_configured" and (source := followed(event.spec, name.image_stream)):
            await self._catch_up(source, position, event)

    async def _catch_up(self, source: TagName, position: int, configured: Heard) -> None:
        """Move a tag that has begun to follow: its source may have moved before anyone knew of it."""
        stored = await self._log.tag_event(source)
        if stored is not None and (head := stored[1].head) is not None:
            moved = Heard(
                type="image_tagged",
                namespace=source.image_stream.namespace,
                image_stream=source.image_stream.name,
                tag=source.tag,
                actor=head.actor,
                reason=head.reason,
                time=head.since,
                caused_by=head.caused_by,
            )
            because = Because(head.position or stored[0], moved, position, head, configured.cause)
            await self._move(configured.name, source, because)

    async def _move(self, follower: TagName, source: TagName, because: Because) -> None:
        """Move a follower to its source's head; what moves the source later is heard later."""
        while True:
            try:
                command = await self._command(follower, source, because)
                done = await self._follow(command, _request(follower, because.position, because.event))
                self.moved += done.changed
                return
            except Refused as error:
                self.refused += 1
                _log.warning("%s does not follow %s: %s", follower, source, error)
                return
            except TagstackError as error:
                _log.warning("%s follows %s: %s; trying again", follower, source, error)
                await asyncio.sleep(RETRY_WAIT_S)

    async def _command(self, follower: TagName, source: TagName, because: Because) -> FollowTag:
        head = because.head
        if head is None:
            stored = await self._log.tag_event(source)
            head = stored[1].head if stored else None
        chain = await self._chain(source, because.event.caused_by)
        return FollowTag(follower.tag, source, head, chain, because.since, because.configured_by)

    async def _chain(self, source: TagName, caused_by: int | None) -> tuple[TagName, ...]:
        """Return the tags whose moves led to the source's, newest first."""
        chain = [source]
        while caused_by is not None and len(chain) <= HOPS_MAX:
            cause = await self._log.at(caused_by)
            if not isinstance(cause, TagEvent):
                break
            chain.append(TagName(ImageStreamName(cause.namespace, cause.image_stream), cause.tag))
            caused_by = cause.caused_by
        return tuple(chain)


def _request(follower: TagName, position: int, event: Heard) -> Request:
    return Request(
        actor=event.actor,
        target=follower.image_stream,
        body=b"",
        command_id=command_id(position, follower),
        reason=event.reason,
        sent=event.time,
        caused_by=position,
    )
