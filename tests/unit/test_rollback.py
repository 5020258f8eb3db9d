"""Rollback: which earlier entry a tag returns to, and what stands on top afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tagstack.domain.errors import Conflict, Forbidden, Invalid, NotFound
from tests.examples import Story, at, digest, image_stream, mapping, on, pull_spec, rollback


def story_of(*images: str) -> Story:
    """Return a story in which `latest` was pushed once for each image, a second apart from second 1."""
    return Story(*(mapping("latest", image) for image in images))


@pytest.mark.parametrize(
    ("to", "image"),
    [
        ({}, "c"),
        ({"steps": 1}, "c"),
        ({"steps": 3}, "a"),
        ({"stackPosition": 2}, "c"),
        ({"stackPosition": 4}, "a"),
        ({"image": digest("b")}, "b"),
        ({"image": digest("b")[:16]}, "b"),
        ({"image": digest("b")[7:15]}, "b"),
        ({"time": at(2)}, "b"),
        ({"time": "2026-01-01T00:00:01.5"}, "a"),
        ({"time": "2026-01-01T01:00:03+01:00"}, "c"),
    ],
)
def test_a_rollback_returns_to_the_entry_it_names(to: dict[str, Any], image: str) -> None:
    """By steps, stack position, image or prefix, and time; one step where nothing is said."""
    story = story_of("a", "b", "c", "d")
    [event] = story.do(rollback("latest", **to))
    assert (story.head("latest"), event.origin) == (digest(image), "rollback")


def test_a_rollback_is_a_new_entry_that_says_what_it_restores() -> None:
    """The head restores the original entry and keeps its pull spec."""
    story = story_of("a", "b")
    original = story_of("a").state().tag("latest").head
    story.do(rollback("latest"))
    head = story.state().tag("latest").head
    assert head and original
    assert (head.restores, head.pull_spec) == (original.position, pull_spec(digest("a")))


def test_rolling_back_twice_goes_two_images_back() -> None:
    """Steps count from the restored entry, not back to where the tag just came from."""
    story = story_of("a", "b", "c")
    story.do(rollback("latest"))
    story.do(rollback("latest"))
    assert story.head("latest") == digest("a")
    with pytest.raises(NotFound, match="below the bottom of the history stack"):
        story.do(rollback("latest"))


def test_a_push_after_a_rollback_starts_counting_from_the_top_again() -> None:
    """One step back from a push is what the tag pointed at before it; the next goes on from the original entry."""
    story = story_of("a", "b", "c")
    story.do(rollback("latest", hold=False))
    story.do(mapping("latest", "d"))
    story.do(rollback("latest"))
    assert story.head("latest") == digest("b")
    story.do(rollback("latest"))
    assert story.head("latest") == digest("a")


@pytest.mark.parametrize("to", [{"steps": 4}, {"stackPosition": 5}, {"image": digest("x")}, {"time": at(0)}])
def test_what_is_not_in_the_stack_is_not_found(to: dict[str, Any]) -> None:
    """Below the bottom, an image it never held, a time before the first entry."""
    with pytest.raises(NotFound):
        story_of("a", "b", "c", "d").do(rollback("latest", **to))


def test_an_ambiguous_image_prefix_is_a_conflict_that_names_the_candidates() -> None:
    """Nobody has to guess which image was meant."""
    with pytest.raises(Conflict) as refused:
        story_of("a", "b").do(rollback("latest", image="sha256:"))
    assert all(digest(image) in str(refused.value) for image in "ab")


def test_a_rollback_to_what_is_on_top_holds_without_an_entry() -> None:
    """There is nothing to move, but the wish that nothing moves it is kept."""
    story = story_of("a", "b")
    [event] = story.do(rollback("latest", stackPosition=1))
    assert event.__struct_config__.tag == "tag_held"
    assert story.do(rollback("latest", stackPosition=1)) == []


def test_a_rollback_to_what_is_on_top_without_a_hold_changes_nothing() -> None:
    """Neither an entry nor a hold."""
    assert story_of("a", "b").do(rollback("latest", hold=False, stackPosition=1)) == []


def test_a_rollback_holds_unless_told_not_to() -> None:
    """The move and the hold are one event: they happen together."""
    story = story_of("a", "b")
    [event] = story.do(rollback("latest"), reason="bad build")
    assert event.hold and (event.hold.actor, event.hold.reason) == ("alice", "bad build")
    other = story_of("a", "b")
    other.do(rollback("latest", hold=False))
    assert other.state().tag("latest").hold is None


def test_a_rollback_without_a_hold_leaves_an_existing_one() -> None:
    """A held tag can be rolled back further and stays held by whoever holds it."""
    story = story_of("a", "b", "c")
    story.do(rollback("latest"), reason="first")
    story.do(rollback("latest", hold=False), reason="second")
    hold = story.state().tag("latest").hold
    assert story.head("latest") == digest("a")
    assert hold and hold.reason == "first"


@pytest.mark.parametrize(("steps", "image"), [(1, "b"), (2, "a")])
def test_a_deleted_tag_comes_back_by_a_rollback(steps: int, image: str) -> None:
    """Its first step back is what it pointed at last."""
    story = story_of("a", "b")
    story.do(on("DeleteImageStreamTag", "latest"))
    story.do(rollback("latest", steps=steps))
    assert story.head("latest") == digest(image)


def test_a_tag_pointed_at_nothing_while_it_was_deleted() -> None:
    """A time between delete and undelete names no entry."""
    story = story_of("a")
    story.do(on("DeleteImageStreamTag", "latest"))
    story.second += 10
    story.do(mapping("latest", "b"))
    with pytest.raises(NotFound, match="pointed at no image"):
        story.do(rollback("latest", time=at(5)))


def test_a_deleted_image_stream_comes_back_with_the_tag() -> None:
    """Stack positions count through the delete; the image stream starts a new uid and generation 1."""
    story = story_of("a", "b")
    old = story.state().uid
    story.do({"kind": "DeleteImageStream", "metadata": {"name": "app"}})
    story.do(rollback("latest", stackPosition=2))
    state = story.state()
    assert (state.exists, state.generation) == (True, 1)
    assert state.uid != old
    assert story.head("latest") == digest("a")


def test_a_tag_that_never_was_is_not_found() -> None:
    """There is no stack to go back in."""
    with pytest.raises(NotFound, match='"app:gone" not found'):
        story_of("a").do(rollback("gone"))


def test_a_protected_tag_is_not_rolled_back() -> None:
    """Once set it never moves, not even back."""
    story = story_of("a", "b")
    story.do(image_stream({}, annotations={"tagstack.dev/protected-tags": "latest"}))
    with pytest.raises(Forbidden):
        story.do(rollback("latest"))


@pytest.mark.parametrize(
    ("to", "field"),
    [
        ({"steps": 0}, "to.steps"),
        ({"steps": -1}, "to.steps"),
        ({"stackPosition": 0}, "to.stackPosition"),
        ({"image": ""}, "to.image"),
        ({"time": "yesterday"}, "to.time"),
        ({"steps": 1, "stackPosition": 1}, "to"),
        ({"step": 1}, "to.step"),
        ({"steps": "1"}, "to.steps"),
    ],
)
def test_a_rollback_that_says_nonsense_is_invalid_at_its_field(to: dict[str, Any], field: str) -> None:
    """Numbers from 1, one way of naming the entry, a time that is one."""
    with pytest.raises(Invalid) as refused:
        story_of("a", "b").do(rollback("latest", **to))
    assert [fault.field for fault in refused.value.faults] == [field]
