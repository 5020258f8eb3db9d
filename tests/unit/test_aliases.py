"""Aliases inside one image stream: live, transitive, in name order, and never in a circle."""

from __future__ import annotations

import pytest

from tagstack.domain.errors import Invalid
from tests.examples import Story, alias, digest, image_stream, mapping, on, tag_of


@pytest.mark.parametrize("name", ["a", "app:a"])
def test_an_alias_points_where_its_source_points(name: str) -> None:
    """At once, and whenever the source moves; the image stream's name may be left out."""
    story = Story(mapping("a", "1"), tag_of("b", alias(name)))
    assert story.head("b") == digest("1")
    story.do(mapping("a", "2"))
    assert story.head("b") == digest("2")


def test_aliases_follow_aliases_in_name_order() -> None:
    """One push moves the whole chain by one command."""
    story = Story(mapping("a", "1"), tag_of("z", alias("a")), tag_of("c", alias("a")), tag_of("b", alias("c")))
    events = story.do(mapping("a", "2"))
    assert [event.tag for event in events] == ["a", "c", "b", "z"]
    assert [event.origin for event in events] == ["mapping", "alias", "alias", "alias"]
    assert [event.last for event in events] == [False, False, False, True]


def test_an_alias_may_come_before_its_source() -> None:
    """It points at nothing until the source does."""
    story = Story(tag_of("b", alias("a")))
    assert story.head("b") is None
    story.do(mapping("a", "1"))
    assert story.head("b") == digest("1")


@pytest.mark.parametrize("closing", ["a", "b", "c"])
def test_a_circle_is_refused_with_its_path(closing: str) -> None:
    """c follows b follows a: a can follow none of them, nor itself."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")), tag_of("c", alias("b")))
    with pytest.raises(Invalid, match="circle: a -> ") as refused:
        story.do(tag_of("a", alias(closing)))
    assert [fault.field for fault in refused.value.faults] == ["tag.from.name"]


def test_a_circle_within_one_image_stream_object_is_refused() -> None:
    """Two tags that come together can't follow each other either."""
    with pytest.raises(Invalid, match="circle"):
        Story().do(image_stream({"a": {"from": alias("b")}, "b": {"from": alias("a")}}))


def test_a_deleted_source_leaves_its_aliases_where_they_are() -> None:
    """They keep their last image."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")), on("DeleteImageStreamTag", "a"))
    assert story.head("b") == digest("1")


def test_a_tag_whose_spec_changed_follows_no_more() -> None:
    """The newest spec counts, loaded from the log or not."""
    story = Story(mapping("a", "1"), mapping("x", "9"), tag_of("b", alias("a")), tag_of("b", alias("x")))
    assert [event.tag for event in story.do(mapping("a", "2"))] == ["a"]


def test_a_reference_to_a_tag_is_no_alias() -> None:
    """With `reference: true` the image is taken once."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a"), reference=True))
    story.do(mapping("a", "2"))
    assert story.head("b") == digest("1")


def test_a_long_chain_of_aliases_moves_at_once() -> None:
    """No recursion stands in the way of the bound of 900 tags."""
    tags = {f"t{number:03}": {"from": alias(f"t{number - 1:03}")} for number in range(1, 890)}
    story = Story(image_stream(tags))
    events = story.do(mapping("t000", "1"))
    assert len(events) == 890
