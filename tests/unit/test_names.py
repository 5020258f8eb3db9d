"""Names: split, joined, checked, matched by prefix, and in the order of their priority."""

from __future__ import annotations

import itertools

import pytest

from tagstack.domain.errors import BadRequest
from tagstack.domain.names import (
    SplitError,
    image_matches,
    image_stream_faults,
    is_digest,
    is_tag,
    join_image,
    join_tag,
    namespace_faults,
    parse_image_name,
    parse_tag_name,
    split_image,
    split_tag,
)
from tagstack.domain.tag_order import prioritized
from tests.examples import digest


def test_a_tag_and_an_image_are_split_at_their_mark() -> None:
    """`stream:tag` and `stream@image`."""
    assert parse_tag_name("app:v1.2") == ("app", "v1.2")
    assert parse_image_name(f"app@{digest('a')}") == ("app", digest("a"))


@pytest.mark.parametrize("name", ["", "app", "app:", ":v1", "a:b:c", "app@sha256:12", ":"])
def test_what_is_no_tag_name_is_refused(name: str) -> None:
    """Exactly one colon with something on both sides; as a request it is a BadRequest."""
    with pytest.raises(SplitError):
        parse_tag_name(name)
    with pytest.raises(BadRequest, match="ImageStreamTags must be retrieved with <name>:<tag>"):
        split_tag(name)


@pytest.mark.parametrize("name", ["", "app", "app@", "@sha", "a@b@c"])
def test_what_is_no_image_name_is_refused(name: str) -> None:
    """Exactly one @ with something on both sides; as a request it is a BadRequest."""
    with pytest.raises(SplitError):
        parse_image_name(name)
    with pytest.raises(BadRequest, match="ImageStreamImages must be retrieved with <name>@<id>"):
        split_image(name)


def test_names_are_joined_as_they_are_split() -> None:
    """No tag means latest."""
    assert join_tag("app", "") == "app:latest"
    assert parse_tag_name(join_tag("app", "v1")) == ("app", "v1")
    assert parse_image_name(join_image("app", "id")) == ("app", "id")


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        (digest("a"), True),
        ("sha512:" + "0" * 128, True),
        ("sha256:" + "0" * 63, False),
        ("sha256:" + "0" * 65, False),
        ("sha256:" + "A" * 64, False),
        ("sha512:" + "0" * 64, False),
        ("md5:" + "0" * 32, False),
        ("plain", False),
    ],
)
def test_a_digest_has_the_length_of_its_algorithm(image: str, whole: bool) -> None:
    """And lower-case hex digits."""
    assert is_digest(image) is whole


@pytest.mark.parametrize("tag", ["latest", "v1.2.3", "_x", "A-b_c.d", "a" * 128])
def test_a_tag_may_be_called_so(tag: str) -> None:
    """Letters, digits, underscores, then dots and dashes too; 128 characters."""
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".x", "-x", "a" * 129, "a b", "a/b", "a:b", "a\n", "ä"])
def test_a_tag_may_not_be_called_so(tag: str) -> None:
    """Not even with a line break at its end."""
    assert not is_tag(tag)


@pytest.mark.parametrize("name", ["app", "a.b_c-d", "0", "a" * 63])
def test_an_image_stream_may_be_called_so(name: str) -> None:
    """Lower-case letters and digits, single separators between them, 63 characters."""
    assert image_stream_faults(name) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%b", "App", "a-", "a..b", "a" * 64, "a\n"])
def test_an_image_stream_may_not_be_called_so(name: str) -> None:
    """One fault, at the name."""
    assert [fault.field for fault in image_stream_faults(name)] == ["metadata.name"]


@pytest.mark.parametrize(("namespace", "faults"), [("a-1", 0), ("", 1), ("A", 1), ("a-", 1), ("a" * 64, 1), ("a.b", 1)])
def test_a_namespace_is_a_dns_label(namespace: str, faults: int) -> None:
    """RFC 1123, 63 characters."""
    assert len(namespace_faults(namespace)) == faults


@pytest.mark.parametrize(
    ("prefix", "matches"),
    [("sha256:", True), (digest("a"), True), (digest("a")[7:11], True), (digest("a")[8:12], False), ("", True)],
)
def test_an_image_is_meant_by_the_beginning_of_its_name_or_of_its_hex_part(prefix: str, matches: bool) -> None:
    """Never by something in the middle."""
    assert image_matches(digest("a"), prefix) is matches


ORDERED = ["latest", "v5.2", "5.1", "v5.1", "5.1-rc1", "10.0.0", "9.0.1", "v9.0.1", "9.0.1-rc.2", "9.0.1-rc.1"]


def test_tags_are_looked_at_from_the_newest_version_on() -> None:
    """Latest, minor versions, full versions, then the rest by name, however they come."""
    wanted = [*ORDERED, "05.1", "3", "abc", "v2"]
    assert prioritized(reversed(wanted)) == wanted
    for left, right in itertools.pairwise(wanted):
        assert prioritized([right, left]) == [left, right]
