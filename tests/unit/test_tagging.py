"""`oc tag` and `oc import-image`: from arguments to commands, or to what is wrong with them."""

from __future__ import annotations

import pytest

from tagstack.domain.events import ObjectReference
from tagstack.domain.import_request import ImportRequestError, Wanted, wanted_all, wanted_tag
from tagstack.domain.tagging import (
    TaggingError,
    TagOptions,
    check_options,
    delete_command,
    needs_image,
    parse_destination,
    parse_source,
    pinned,
    tag_command,
)
from tests.examples import Story, alias, command, digest, image_stream


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("app:v1", "", ("ImageStreamTag", "test", "app:v1")),
        ("nginx", "", ("DockerImage", "", "nginx")),
        ("app@sha256:12ab", "", ("ImageStreamImage", "test", "app@sha256:12ab")),
        ("prod/app:v1", "", ("ImageStreamTag", "prod", "app:v1")),
        (f"prod/app@{digest('a')}", "", ("ImageStreamImage", "prod", f"app@{digest('a')}")),
        ("quay.io/a/b:c", "", ("DockerImage", "", "quay.io/a/b:c")),
        ("a/b:c", "docker", ("DockerImage", "", "a/b:c")),
        ("a/b:c", "istag", ("ImageStreamTag", "a", "b:c")),
    ],
)
def test_a_source_is_what_it_looks_like_or_what_the_flag_says(text: str, kind: str, wanted: tuple[str, ...]) -> None:
    """With a registry it is an image elsewhere, with a digest an image of an image stream, else a tag."""
    found = parse_source(text, "test", kind)
    assert (found.kind, found.namespace, found.name) == wanted


@pytest.mark.parametrize(("text", "kind"), [("A:b", ""), ("a", "nope"), ("a", "istag"), ("a:b", "isimage"), ("", "")])
def test_a_source_that_means_nothing_is_told(text: str, kind: str) -> None:
    """Before anything is sent."""
    with pytest.raises(TaggingError):
        parse_source(text, "test", kind)


def test_a_destination_names_its_tag_and_may_leave_out_its_namespace() -> None:
    """The default namespace is the command's."""
    assert str(parse_destination("app:v1", "test")) == "test/app:v1"
    assert str(parse_destination("prod/app:v1", "test")) == "prod/app:v1"


def test_a_tag_name_is_checked_unless_it_is_deleted() -> None:
    """A tag that should never have been can be removed."""
    with pytest.raises(TaggingError, match='invalid tag "a#b" format'):
        parse_destination("app:a#b", "test")
    assert parse_destination("app:a#b", "test", check=False).tag == "a#b"
    for text in ("app", "a/b/c:d", "/app:x", "prod/", ""):
        with pytest.raises(TaggingError):
            parse_destination(text, "test")


def test_a_source_tag_is_pinned_unless_it_shall_be_an_alias() -> None:
    """What was tagged is what the user saw."""
    source = parse_source("app:v1", "test")
    assert needs_image(source, TagOptions()) and not needs_image(source, TagOptions(alias=True))
    assert pinned(source, digest("a")) == ObjectReference(
        kind="ImageStreamImage", namespace="test", name=f"app@{digest('a')}"
    )


def test_the_command_carries_the_flags_and_can_be_read() -> None:
    """One body per destination."""
    options = TagOptions(scheduled=True, insecure=True, reference_policy="local", import_mode="PreserveOriginal")
    source = parse_source("quay.io/a/b:c", "test")
    asked = command(tag_command(source, parse_destination("app:v1", "test"), options))
    assert asked.metadata.name == "app:v1"
    assert asked.tag.import_policy.scheduled and asked.tag.import_policy.insecure
    assert (asked.tag.import_policy.import_mode, asked.tag.reference_policy.type) == ("PreserveOriginal", "Local")
    assert command(delete_command(parse_destination("app:v1", "test"))).metadata.name == "app:v1"


def test_an_alias_across_image_streams_follows() -> None:
    """Inside one image stream it needs no annotation."""
    source, options = parse_source("dev/app:v1", "test"), TagOptions(alias=True)
    across = tag_command(source, parse_destination("prod/app:v1", "test"), options)
    assert across["tag"]["annotations"] == {"tagstack.dev/follow": "true"}
    inside = tag_command(source, parse_destination("dev/app:v2", "test"), options)
    assert "annotations" not in inside["tag"]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("quay.io/a/b:c", TagOptions(alias=True)),
        ("app:v1", TagOptions(reference_policy="other")),
        ("app:v1", TagOptions(alias=True, reference=True)),
        ("app:v1", TagOptions(scheduled=True)),
        ("app:v1", TagOptions(import_mode="PreserveOriginal")),
    ],
)
def test_flags_that_do_not_fit_are_told(source: str, options: TagOptions) -> None:
    """An alias follows a tag, what an importer has to know needs a registry, policies are source and local."""
    with pytest.raises(TaggingError):
        check_options(parse_source(source, "test"), options)


def test_an_import_follows_aliases_to_what_can_be_imported() -> None:
    """And says why it can't."""
    ruby = {"kind": "DockerImage", "name": "docker.io/library/ruby:3"}
    tags = {"ruby": {"from": ruby}, "latest": {"from": alias("ruby")}, "other": {"from": alias("x:y")}}
    tags["x"] = {"from": alias("x:z")}
    story = Story(image_stream({}) | {"metadata": {"name": "x"}})
    del tags["x"]
    story.do(image_stream(tags))
    state = story.state()
    assert wanted_tag(state, "") == wanted_tag(state, "ruby") == Wanted(ruby["name"], "ruby")
    assert wanted_all(state) == [Wanted(ruby["name"], "ruby")]
    for tag, why in (("other", "another ImageStream"), ("gone", "does not exist on the image stream")):
        with pytest.raises(ImportRequestError, match=why):
            wanted_tag(state, tag)
    with pytest.raises(ImportRequestError, match="different import spec"):
        wanted_tag(state, "ruby", "quay.io/ruby")


def test_an_import_into_a_new_image_stream_has_to_be_confirmed() -> None:
    """Then its name is the source unless another is given."""
    state = Story().state()
    with pytest.raises(ImportRequestError, match="pass --confirm to create and import"):
        wanted_tag(state, "")
    assert wanted_tag(state, "", confirm=True) == Wanted("app", "latest")
    with pytest.raises(ImportRequestError, match="does not have tags pointing to external container images"):
        wanted_all(state)
