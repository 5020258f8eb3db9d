"""What each command leads to: given an image stream's story, when a command comes, then these events."""

from __future__ import annotations

import msgspec
import pytest

from tagstack.domain.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound
from tests.examples import Story, alias, digest, image_stream, mapping, on, pull_spec, tag_of


def kinds(events: list) -> list[str]:
    """Return the types of events."""
    return [event.__struct_config__.tag for event in events]


def test_a_push_creates_a_missing_image_stream_with_its_tag() -> None:
    """The image stream and the tag come into being by one command, numbered, the last one marked."""
    events = Story().do(mapping("latest", "a"))
    assert kinds(events) == ["image_stream_created", "image_tagged"]
    assert [(event.number, event.last) for event in events] == [(1, False), (2, True)]


def test_a_push_creates_nothing_where_it_must_not() -> None:
    """With creation off a missing image stream is NotFound, worded as OpenShift does."""
    with pytest.raises(NotFound, match=r'imagestreams\.image\.openshift\.io "app" not found'):
        Story().do(mapping("latest", "a"), create=False)


def test_a_push_of_the_same_image_and_pull_spec_is_success_without_an_event() -> None:
    """Asking for what is already so changes nothing."""
    assert Story(mapping("latest", "a")).do(mapping("latest", "a")) == []


def test_a_push_of_the_same_image_by_another_pull_spec_is_an_event_but_no_entry() -> None:
    """The head's pull spec changes, its time and position stay."""
    story = Story(mapping("latest", "a"))
    before = story.state().tag("latest").head
    body = mapping("latest", "a")
    body["image"]["dockerImageReference"] = "mirror.example.com/app@" + digest("a")
    [event] = story.do(body)
    after = story.state().tag("latest").head
    assert before and after and event.image == event.previous_image == digest("a")
    assert (after.pull_spec, after.since, after.position) == (
        body["image"]["dockerImageReference"],
        before.since,
        before.position,
    )


def test_a_push_carries_the_generation_and_does_not_raise_it() -> None:
    """Generation counts changes of the spec, not pushes."""
    story = Story(mapping("latest", "a"), mapping("latest", "b"))
    assert story.state().generation == 1
    assert story.state().tag("latest").head.generation == 1


@pytest.mark.parametrize(
    "change",
    [
        {"from": alias("latest")},
        {"from": alias("latest"), "annotations": {"a": "b"}},
        {"from": alias("latest"), "importPolicy": {"importMode": "PreserveOriginal"}},
    ],
)
def test_a_change_of_the_spec_raises_the_generation_once(change: dict) -> None:
    """The image stream's and the changed tag's generation become one more than before."""
    story = Story(mapping("latest", "a"), mapping("other", "b"))
    story.do({"kind": "ImageStreamTag", "metadata": {"name": "app:other"}, "tag": change})
    assert story.state().generation == 2
    assert story.state().tag("other").spec.generation == 2


def test_the_generation_a_client_sends_is_ignored_unless_it_is_zero() -> None:
    """Only 0 says something: import again."""
    source = {"kind": "DockerImage", "name": "docker.io/library/ruby:3"}
    story = Story(tag_of("ruby", source))
    assert story.do(tag_of("ruby", source, generation=99)) == []
    [event] = story.do(tag_of("ruby", source, generation=0))
    assert (event.generation, event.spec.generation) == (2, 2)


def test_a_tag_from_a_registry_is_a_wish_without_an_image() -> None:
    """Nothing is tagged before the importer has it."""
    story = Story(tag_of("ruby", {"kind": "DockerImage", "name": "docker.io/library/ruby:3"}))
    assert story.state().tag("ruby").head is None


def test_a_reference_tag_points_at_a_pull_spec_without_an_image() -> None:
    """`reference: true` records the pull spec at once."""
    story = Story(tag_of("ruby", {"kind": "DockerImage", "name": "quay.io/a/ruby:3"}, reference=True))
    head = story.state().tag("ruby").head
    assert head and (head.image, head.pull_spec) == ("", "quay.io/a/ruby:3")


def test_a_copy_from_another_image_stream_is_taken_once() -> None:
    """A tag from another image stream's tag does not follow it."""
    other = mapping("latest", "a") | {"metadata": {"name": "other"}}
    story = Story(other, tag_of("latest", alias("other:latest")))
    story.do(mapping("latest", "b") | {"metadata": {"name": "other"}})
    assert story.head("latest") == digest("a")


def test_a_copy_rewrites_a_pull_spec_of_the_internal_registry() -> None:
    """The image is then pulled from this image stream's own repository."""
    body = mapping("latest", "a") | {"metadata": {"name": "other"}}
    body["image"]["dockerImageReference"] = pull_spec(digest("a"), "test/other")
    story = Story(body)
    story.do(tag_of("latest", alias("other:latest")), internal_registry="172.30.56.218:5000")
    assert story.state().tag("latest").head.pull_spec == pull_spec(digest("a"))


def test_a_copy_from_a_missing_image_stream_is_invalid_at_its_name() -> None:
    """The fault names the field, as OpenShift does."""
    with pytest.raises(Invalid) as refused:
        Story().do(tag_of("latest", alias("gone:latest")))
    assert [(fault.field, fault.type) for fault in refused.value.faults] == [("tag.from.name", "NotFound")]


def test_a_copy_from_a_missing_tag_waits_for_nothing() -> None:
    """The spec is stored, nothing is tagged, and nobody comes back to it."""
    story = Story(mapping("latest", "a") | {"metadata": {"name": "other"}})
    assert kinds(story.do(tag_of("latest", alias("other:gone")))) == ["image_stream_created", "tag_configured"]


def test_a_pin_needs_an_image_of_the_image_streams_history() -> None:
    """An image of any depth can be pinned, by prefix."""
    story = Story(mapping("latest", "a"), mapping("latest", "b"))
    source = {"kind": "ImageStreamImage", "name": f"app@{digest('a')[:20]}"}
    story.do(tag_of("pinned", source))
    assert story.head("pinned") == digest("a")
    with pytest.raises(NotFound):
        story.do(tag_of("pinned", source | {"name": f"app@{digest('c')}"}))


def test_what_a_spec_named_before_is_not_looked_up_again() -> None:
    """A label can change after a source has been deleted."""
    other = {"metadata": {"name": "other"}}
    source = {"kind": "ImageStreamTag", "name": "other:latest"}
    story = Story(mapping("latest", "a") | other, image_stream({"latest": {"from": source}}))
    story.do({"kind": "DeleteImageStream"} | other)
    [event] = story.do(image_stream({"latest": {"from": source}}, labels={"team": "a"}))
    assert event.labels == {"team": "a"}


def test_replacing_an_image_stream_removes_the_specs_it_leaves_out() -> None:
    """The spec goes, the history stays and the tag can still be pulled."""
    story = Story(mapping("a", "a"), tag_of("b", alias("a")))
    story.do(image_stream({}))
    assert story.state().tag("b").spec is None
    assert story.head("b") == digest("a")


def test_labels_alone_do_not_raise_the_generation() -> None:
    """Only the spec counts."""
    story = Story(image_stream({}))
    story.do(image_stream({}, labels={"a": "b"}))
    assert story.state().generation == 1


def test_a_stale_resource_version_is_a_conflict() -> None:
    """Who read an older state must read again."""
    story = Story(image_stream({}))
    version = str(story.state().position)
    story.do(image_stream({}, labels={"a": "b"}, resourceVersion=version))
    with pytest.raises(Conflict, match="another caller has updated the resource version"):
        story.do(image_stream({}, resourceVersion=version))


def test_an_annotation_needs_a_spec_to_be_put_on() -> None:
    """A tag that was only pushed has no spec that could be updated."""
    body = {"kind": "ImageStreamTag", "metadata": {"name": "app:latest", "annotations": {"a": "b"}}}
    with pytest.raises(BadRequest, match="imagestreamtag latest is not a spec tag in imagestream test/app"):
        Story(mapping("latest", "a")).do(body)


def test_labels_of_a_tag_are_the_image_streams_and_stay() -> None:
    """Whoever sends other labels with a tag is told, not ignored."""
    body = tag_of("latest", alias("other"))
    body["metadata"]["labels"] = {"a": "b"}
    with pytest.raises(Invalid) as refused:
        Story(mapping("latest", "a")).do(body)
    assert [fault.field for fault in refused.value.faults] == ["metadata"]


@pytest.mark.parametrize("expected", [{"expectedImage": digest("b")}, {"expectedPosition": 1}, {"expectedImage": ""}])
def test_another_head_than_expected_is_a_conflict(expected: dict) -> None:
    """Both ways of naming the head are checked, and nothing happens."""
    story = Story(mapping("latest", "a"))
    with pytest.raises(Conflict):
        story.do(mapping("latest", "c") | expected)
    assert story.head("latest") == digest("a")


def test_the_expected_head_lets_a_push_pass() -> None:
    """Image and position of the head's event, and 0 for a tag that points nowhere."""
    story = Story(mapping("latest", "a"))
    position = story.state().tag("latest").head.position
    assert story.do(mapping("latest", "b", expectedImage=digest("a"), expectedPosition=position))
    assert story.do(mapping("new", "b", expectedPosition=0, expectedImage=""))


def test_more_tags_than_one_batch_carries_are_invalid() -> None:
    """A push with 900 followers would be 901 events at once."""
    tags = {f"t{number}": {"from": alias("latest")} for number in range(450)}
    more = {f"u{number}": {"from": alias("latest")} for number in range(450)}
    story = Story(image_stream(tags), image_stream(tags | more))
    with pytest.raises(Invalid) as refused:
        story.do(mapping("latest", "a"))
    assert "900" in str(refused.value)
    assert story.head("latest") is None


def test_a_protected_tag_is_set_once_and_never_moves() -> None:
    """Neither a push nor a promotion nor a delete moves it; the same image again is success."""
    protected = {"tagstack.dev/protected-tags": "v*, release-*"}
    story = Story(image_stream({}, annotations=protected), mapping("v1", "a"), mapping("latest", "a"))
    assert story.do(mapping("v1", "a")) == []
    story.do(mapping("latest", "b"))
    promotion = on("PromoteTag", "v1", **{"from": {"name": "app:latest"}})
    for body in (mapping("v1", "b"), promotion, on("DeleteImageStreamTag", "v1")):
        with pytest.raises(Forbidden, match=r'protects tags "v\*"'):
            story.do(body)


def test_a_promotion_keeps_where_the_image_came_from() -> None:
    """Stream, tag, image, position and who had put it there."""
    story = Story(mapping("latest", "a") | {"metadata": {"name": "dev"}}, actor="ci")
    source = story.state("dev").tag("latest").head
    story.actor = "alice"
    story.do(on("PromoteTag", "prod", **{"from": {"name": "dev:latest"}}))
    head = story.state().tag("prod").head
    assert head and source and head.promoted_from
    assert head.image == source.image
    assert msgspec.to_builtins(head.promoted_from) == {
        "imageStream": "test/dev",
        "tag": "latest",
        "image": digest("a"),
        "position": source.position,
        "actor": "ci",
        "time": source.since,
    }


def test_a_promotion_from_nothing_is_not_found() -> None:
    """There is no image to promote."""
    with pytest.raises(NotFound, match=r'imagestreamtags\.image\.openshift\.io "dev:gone" not found'):
        Story(mapping("latest", "a")).do(on("PromoteTag", "prod", **{"from": {"name": "dev:gone"}}))


def test_time_never_goes_back_within_an_image_stream() -> None:
    """A worker whose clock is behind writes the newest event's time."""
    story = Story(mapping("latest", "a"))
    newest = story.state().time
    events = story.do(mapping("latest", "b"), now="2020-01-01T00:00:00.000000Z")
    assert [event.time for event in events] == [newest]
