"""Following across image streams: when a follower moves, and when a chain has to end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tagstack.domain.changes import Context
from tagstack.domain.decider import decide
from tagstack.domain.events import Event, Head, ImageTagged, ObjectReference, TagSpec
from tagstack.domain.following import HOPS_MAX, FollowTag
from tagstack.domain.image_stream import ImageStream, Tag
from tagstack.domain.lookups import Facts
from tagstack.domain.names import ImageStreamName, TagName

OWN = ImageStreamName("prod", "app")
SOURCE = TagName(ImageStreamName("dev", "app"), "latest")
NEW = Head(
    image="sha256:" + "2" * 64,
    pull_spec="r.example/dev/app@sha256:" + "2" * 64,
    generation=1,
    since="2026-01-01T00:00:00.000000Z",
    actor="me",
    origin="mapping",
    cause="c",
    position=7,
)


def follow(
    *,
    chain: tuple[TagName, ...] = (SOURCE,),
    annotations: dict[str, str] | None = None,
    head: Head | None = None,
    configured_by: str = "",
) -> list[Event]:
    """Decide a move of prod/app:latest, which follows dev/app:latest unless told otherwise, since position 7."""
    source = ObjectReference(kind="ImageStreamTag", namespace="dev", name="app:latest")
    marks = {"tagstack.dev/follow": "true"} if annotations is None else annotations
    tag = Tag("u", head=head, spec=TagSpec(source=source, annotations=marks))
    state = ImageStream(OWN, uid="u", exists=True, generation=1, tags={"latest": tag})
    context = Context(actor="me", cause="7/prod/app:latest", now="2026-01-02T00:00:00.000000Z", caused_by=7)
    return decide(FollowTag("latest", SOURCE, NEW, chain, 7, configured_by), state, context, Facts()).events


def test_a_follower_moves_to_the_head_of_its_source() -> None:
    """The source's image arrives as an alias's, caused by the source's event."""
    [event] = follow()
    assert isinstance(event, ImageTagged)
    assert (event.image, event.origin, event.caused_by) == (NEW.image, "alias", 7)


def test_a_tag_that_follows_no_more_stays() -> None:
    """Whoever took the annotation away in the meantime is not moved."""
    assert follow(annotations={}) == []


def test_a_chain_ends_where_it_would_come_back() -> None:
    """A tag that has already moved in this chain does not move again.

    Seen to fail when `following.follow` does not ask whether the tag is in the chain.
    """
    assert follow(chain=(SOURCE, TagName(OWN, "latest"))) == []


def test_a_chain_ends_after_sixteen_hops() -> None:
    """The sixteenth hop moves, the seventeenth does not.

    Seen to fail when `following.follow` does not ask how long the chain is.
    """
    others = [TagName(ImageStreamName("dev", f"app{number}"), "latest") for number in range(HOPS_MAX)]
    assert len(follow(chain=tuple(others))) == 1
    assert follow(chain=(SOURCE, *others)) == []


def moved(position: int, **told: Any) -> Head:
    """Return the head of a tag that somebody moved at a position."""
    fields = {"image": "sha256:" + "9" * 64, "cause": "by-hand", "origin": "mapping", "position": position}
    return msgspec.structs.replace(NEW, **(fields | told))


def test_a_move_that_is_heard_late_does_not_undo_what_somebody_did_since() -> None:
    """Who moved the follower after its source did meant it; who moved it before is followed over.

    Seen to fail when `following.follow` does not ask `_moved_by_hand`.
    """
    assert follow(head=moved(8)) == []
    assert len(follow(head=moved(6))) == 1


@pytest.mark.parametrize("told", [{"caused_by": 5}, {"origin": "release"}])
def test_a_follower_that_followed_or_was_released_since_moves(told: dict[str, Any]) -> None:
    """It may have got to an older head than its source's, since it read that a moment before."""
    assert len(follow(head=moved(8, **told))) == 1


def test_a_tag_that_begins_to_follow_catches_up_with_its_source() -> None:
    """The command that configured it may have moved it too, to what the source had been a moment before."""
    assert len(follow(head=moved(8, cause="configure"), configured_by="configure")) == 1
