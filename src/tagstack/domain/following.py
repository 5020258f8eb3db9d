"""Following: a tag that moves whenever a tag of another image stream moves, which OpenShift refuses.

A follower moves by a command of its own, caused by the source's event, to the source's current head.
Whoever delivers that command late, twice or out of order, the follower ends at the newest head, unless
somebody moved the follower itself after the source: then it stays until its source moves again.
"""

from __future__ import annotations

import msgspec

from tagstack.domain.changes import Arrival, Changes
from tagstack.domain.events import Head, ObjectReference, TagSpec
from tagstack.domain.image_stream import FOLLOW
from tagstack.domain.lookups import Facts
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.sources import source_tag
from tagstack.domain.spec_tags import rewritten

HOPS_MAX = 16


class FollowTag(msgspec.Struct, frozen=True):
    """Move one tag to where its source points now. Never read from the wire.

    `chain` names the tags that moved before, newest first: the source, and what it followed. `since` is
    the position of the source's move or, with the id of the command `configured_by`, of the beginning.
    """

    tag: str
    source: TagName
    head: Head | None
    chain: tuple[TagName, ...] = ()
    since: int | None = None
    configured_by: str = ""
    dry_run: bool = False


def followed(spec: TagSpec | None, own: ImageStreamName) -> TagName | None:
    """Return the tag of another image stream that a spec follows, if it follows one."""
    if spec is None or spec.annotations.get(FOLLOW) != "true" or spec.reference:
        return None
    return followed_source(spec.source, own)


def followed_source(source: ObjectReference | None, own: ImageStreamName) -> TagName | None:
    """Return the tag that a reference means, if that is one of another image stream."""
    if source is None or source.kind != "ImageStreamTag":
        return None
    named = source_tag(source, own)
    return None if named.image_stream == own else named


def command_id(position: int, follower: TagName) -> str:
    """Return the id of the command that an event at `position` causes at a follower."""
    return f"{position}/{follower}"


def follow(command: FollowTag, changes: Changes, facts: Facts) -> None:
    """Let the source's image arrive, unless the tag follows it no more or the chain has to end."""
    tag = changes.tag(command.tag)
    own = TagName(changes.state.name, command.tag)
    if command.head is None or followed(tag.spec, changes.state.name) != command.source:
        return
    if own in command.chain or len(command.chain) > HOPS_MAX:
        return
    if command.since is not None and tag.head is not None and _moved_by_hand(tag.head, command.since, command):
        return
    pull_spec = rewritten(command.head.pull_spec, command.source, changes)
    changes.move(command.tag, Arrival(command.head.image, pull_spec, "alias"))


def _moved_by_hand(head: Head, since: int, command: FollowTag) -> bool:
    """Return whether a tag was moved after a position by somebody, and not as what follows, or was withheld.

    A source's move is heard again after a restore; one that led to nothing has left no trace to know it by.
    """
    if head.caused_by is not None or head.origin == "release" or head.cause == command.configured_by:
        return False
    return head.position > since
