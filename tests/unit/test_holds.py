"""Holds: what does not move a held tag, what does, and what a release makes of what was withheld."""

from __future__ import annotations

from typing import Any

import pytest

from tagstack.domain.errors import Conflict, Forbidden, NotFound
from tests.examples import Story, alias, digest, image_stream, mapping, on, rollback, tag_of


@pytest.fixture
def held() -> Story:
    """A story in which `latest` points at a and is held, and `other` points at b."""
    story = Story(mapping("latest", "a"), mapping("other", "b"))
    story.do(on("HoldTag", "latest"), reason="frozen")
    return story


@pytest.mark.parametrize(
    "body",
    [
        mapping("latest", "c"),
        on("PromoteTag", "latest", **{"from": {"name": "app:other"}}),
        tag_of("latest", alias("other")),
        tag_of("latest", {"kind": "ImageStreamImage", "name": f"app@{digest('b')}"}),
        image_stream({"latest": {"from": alias("other")}}),
    ],
)
def test_nothing_but_rollback_and_release_moves_a_held_tag(held: Story, body: dict[str, Any]) -> None:
    """Pushes, promotions, copies and changes of the spec are stored as withheld."""
    events = held.do(body)
    assert events[-1].__struct_config__.tag == "push_withheld"
    assert events[-1].hold.withheld.image in (digest("b"), digest("c"))
    assert held.head("latest") == digest("a")


def test_an_alias_does_not_move_a_held_tag() -> None:
    """A held follower keeps its image while its source moves, and so do those that follow it."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")), tag_of("c", alias("b")), on("HoldTag", "b"))
    story.do(mapping("a", "2"))
    assert [story.head(tag) for tag in "abc"] == [digest("2"), digest("1"), digest("1")]


def test_the_newest_withheld_image_is_kept_and_counted(held: Story) -> None:
    """One image is remembered, and how many there were; the same one again is no event."""
    held.do(mapping("latest", "c"))
    held.do(mapping("latest", "d"))
    assert held.do(mapping("latest", "d")) == []
    hold = held.state().tag("latest").hold
    assert hold and hold.withheld
    assert (hold.withheld.image, hold.withheld_count, hold.reason) == (digest("d"), 2, "frozen")


def test_a_hold_of_a_held_tag_changes_nothing(held: Story) -> None:
    """Whoever held it first holds it."""
    assert held.do(on("HoldTag", "latest"), reason="again") == []


def test_a_rollback_moves_a_held_tag(held: Story) -> None:
    """It stays held."""
    story = Story(mapping("latest", "a"), mapping("latest", "b"), on("HoldTag", "latest"))
    story.do(rollback("latest"))
    assert story.head("latest") == digest("a")
    assert story.state().tag("latest").hold is not None


def test_a_release_forgets_what_was_withheld(held: Story) -> None:
    """The tag stays where it is and moves again with the next push."""
    held.do(mapping("latest", "c"))
    held.do(on("ReleaseTag", "latest"))
    assert held.state().tag("latest").hold is None
    assert held.head("latest") == digest("a")
    held.do(mapping("latest", "d"))
    assert held.head("latest") == digest("d")


def test_a_release_that_advances_moves_to_the_newest_withheld_image(held: Story) -> None:
    """Move and release are one event, and aliases follow."""
    held.do(tag_of("follower", alias("latest")))
    held.do(mapping("latest", "c"))
    events = held.do(on("ReleaseTag", "latest", advance=True))
    assert [(event.tag, event.origin) for event in events] == [("latest", "release"), ("follower", "alias")]
    assert held.head("latest") == held.head("follower") == digest("c")
    assert held.state().tag("latest").hold is None


def test_a_release_that_could_advance_to_nothing_only_releases(held: Story) -> None:
    """Nothing was withheld."""
    [event] = held.do(on("ReleaseTag", "latest", advance=True))
    assert event.__struct_config__.tag == "tag_released"


def test_a_release_of_a_tag_that_is_not_held_changes_nothing() -> None:
    """What is asked for is so already."""
    assert Story(mapping("latest", "a")).do(on("ReleaseTag", "latest")) == []


@pytest.mark.parametrize("kind", ["HoldTag", "ReleaseTag"])
def test_a_tag_that_does_not_exist_can_be_neither_held_nor_released(kind: str) -> None:
    """It is NotFound."""
    with pytest.raises(NotFound):
        Story(mapping("latest", "a")).do(on(kind, "gone"))


def test_a_held_tag_is_deleted_by_force_only(held: Story) -> None:
    """Without it the Conflict says who holds it and why; the delete ends the hold."""
    with pytest.raises(Conflict, match=r"held by alice since .* \(frozen\)"):
        held.do(on("DeleteImageStreamTag", "latest"))
    held.do(on("DeleteImageStreamTag", "latest", force=True))
    held.do(mapping("latest", "c"))
    assert held.state().tag("latest").hold is None


def test_a_tag_that_loses_its_spec_and_never_had_an_image_is_held_no_more() -> None:
    """It is gone, and so the event says, as the one of a delete does; what comes by its name is another tag.

    Seen to fail when `Changes.configure` keeps the hold.
    """
    external = {"kind": "DockerImage", "name": "quay.io/some/image:a"}
    story = Story(image_stream({"latest": {"from": external}}), on("HoldTag", "latest"))
    [*_, event] = story.do(image_stream({}))
    assert (event.image, event.spec, event.hold) == (None, None, None)
    story.do(mapping("latest", "a"))
    assert story.state().tag("latest").hold is None


def test_an_image_stream_with_a_held_tag_is_deleted_by_force_only(held: Story) -> None:
    """A held tag is not lost by deleting around it."""
    body = {"kind": "DeleteImageStream", "metadata": {"name": "app"}}
    with pytest.raises(Conflict):
        held.do(body)
    held.do(body | {"force": True})
    assert not held.state().exists


def test_a_push_to_a_protected_tag_is_refused_while_it_is_held_too(held: Story) -> None:
    """It could never be taken over, so it is not kept; the same image by another pull spec is."""
    held.do(image_stream({}, annotations={"tagstack.dev/protected-tags": "latest"}))
    with pytest.raises(Forbidden):
        held.do(mapping("latest", "c"))
    body = mapping("latest", "a")
    body["image"]["dockerImageReference"] = "mirror/app@" + digest("a")
    assert [event.__struct_config__.tag for event in held.do(body)] == ["push_withheld"]
