"""Deletes: what is gone from the current view, and what comes back when a name is used again."""

from __future__ import annotations

import pytest

from tagstack.domain import stack
from tagstack.domain.errors import Conflict, NotFound
from tests.examples import NAME, Story, alias, digest, image_stream, mapping, on, tag_of

DELETE = {"kind": "DeleteImageStream", "metadata": {"name": "app"}}


def history(story: Story, tag: str) -> list[str]:
    """Return every image of a tag's stack, newest first, deletes counted through."""
    events = [(position, event) for position, event in story.log.stored if getattr(event, "tag", "") == tag and event]
    return [entry.head.image for entry in stack.fold(events)]


def test_a_deleted_tag_is_gone_with_its_spec() -> None:
    """The spec went, so the generation rises."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")))
    generation = story.state().generation
    [event] = story.do(on("DeleteImageStreamTag", "b"))
    assert (event.image, event.head, event.spec) == (None, None, None)
    assert story.state().generation == generation + 1
    assert "b" not in story.state().tags


def test_a_deleted_tag_without_a_spec_leaves_the_generation() -> None:
    """Nothing of the spec changed."""
    story = Story(mapping("a", "1"), on("DeleteImageStreamTag", "a"))
    assert story.state().generation == 1


def test_the_stack_counts_through_a_delete() -> None:
    """What came before is still there to roll back to."""
    story = Story(mapping("a", "1"), on("DeleteImageStreamTag", "a"), mapping("a", "2"))
    assert history(story, "a") == [digest("2"), digest("1")]


def test_a_delete_of_what_is_not_there_is_not_found() -> None:
    """The tag, or the image stream; deleting twice is told."""
    story = Story(mapping("a", "1"), on("DeleteImageStreamTag", "a"))
    for body in (on("DeleteImageStreamTag", "a"), DELETE | {"metadata": {"name": "gone"}}):
        with pytest.raises(NotFound):
            story.do(body)


def test_another_uid_than_expected_is_a_conflict() -> None:
    """Whoever means an earlier image stream of that name deletes nothing."""
    story = Story(mapping("a", "1"))
    for body in (on("DeleteImageStreamTag", "a"), DELETE):
        with pytest.raises(Conflict, match="the UID precondition was not met"):
            story.do(body | {"metadata": body["metadata"] | {"uid": "another"}})


def test_a_deleted_image_stream_takes_its_tags_along() -> None:
    """Its own event decides, those of its tags follow in the same command."""
    story = Story(mapping("a", "1"), mapping("b", "2"))
    events = story.do(DELETE)
    assert [event.__struct_config__.tag for event in events] == ["image_stream_deleted", "tag_deleted", "tag_deleted"]
    assert [event.last for event in events] == [False, False, True]
    assert not story.state().exists


def test_a_recreated_image_stream_starts_anew() -> None:
    """Another uid, generation 1, and none of the old tags."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")))
    old = story.state()
    story.do(DELETE)
    story.do(image_stream({}))
    new = story.state()
    assert (new.exists, new.generation, new.tags) == (True, 1, {})
    assert new.uid != old.uid
    assert new.name == NAME


def test_a_tag_event_of_an_older_uid_does_not_come_back() -> None:
    """Whatever order events are folded in, the image stream's own event decides which tags are its."""
    story = Story(mapping("a", "1"))
    orphan = story.log.stored[-1]
    story.do(DELETE)
    story.do(image_stream({}))
    story.log.stored.append((len(story.log.stored) + 1, orphan[1]))
    assert story.state().tags == {}
