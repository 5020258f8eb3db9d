"""Queries: OpenShift's objects, the past, and whose they are, answered from the log."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tagstack.application.grants import Grants
from tagstack.application.queries import KINDS, Queries, Query, read_query
from tagstack.domain.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound
from tests.examples import Story, alias, at, digest, image_stream, mapping, on, rollback, sample, tag_of


def ask(story: Story, kind: str, name: str = "", namespace: str = "test", **more: Any) -> Any:
    """Return the answer to a query about a story."""
    queries = Queries(story.log, Grants(), "registry:5000")
    return asyncio.run(queries.answer("alice", namespace, Query(kind=kind, name=name, **more)))


def test_an_image_stream_is_openshifts_object_with_its_history() -> None:
    """Newest first; who, why and where in the log stand beside OpenShift's fields."""
    story = Story(mapping("latest", "a"))
    story.do(mapping("latest", "b"), reason="release")
    found = ask(story, "ImageStream", "app")
    [tag] = found["status"]["tags"]
    assert [item["image"] for item in tag["items"]] == [digest("b"), digest("a")]
    assert (tag["items"][0]["actor"], tag["items"][0]["reason"]) == ("alice", "release")
    assert found["metadata"]["resourceVersion"] == str(story.state().position)
    assert found["status"]["dockerImageRepository"] == "registry:5000/test/app"


def test_the_view_shows_what_came_after_the_last_delete() -> None:
    """The history of the tag shows everything, and when it was deleted."""
    story = Story(mapping("latest", "a"), on("DeleteImageStreamTag", "latest"), mapping("latest", "b"))
    [tag] = ask(story, "ImageStream", "app")["status"]["tags"]
    assert [item["image"] for item in tag["items"]] == [digest("b")]
    rows = ask(story, "History", "app:latest")["items"]
    assert [(row["image"], row["stack_position"], row["valid_to"]) for row in rows] == [
        (digest("b"), 1, None),
        (digest("a"), 2, at(2)),
    ]


def test_a_hold_is_shown_wherever_the_tag_is() -> None:
    """Who, since when and why, and what was withheld."""
    story = Story(mapping("latest", "a"), mapping("latest", "b"))
    story.do(rollback("latest"), reason="bad build")
    story.do(mapping("latest", "c"))
    for kind in ("ImageStreamTag", "ImageTag"):
        hold = ask(story, kind, "app:latest")["hold"]
        assert (hold["actor"], hold["reason"], hold["withheld"]["image"]) == ("alice", "bad build", digest("c"))
    assert ask(story, "ImageStream", "app")["status"]["tags"][0]["hold"]["since"] == at(3)


def test_a_tag_without_an_image_is_seen_as_an_image_tag_only() -> None:
    """OpenShift's two views of a tag differ here; the same holds of their lists."""
    story = Story(mapping("a", "1"), tag_of("wish", {"kind": "DockerImage", "name": "quay.io/a/b:c"}))
    with pytest.raises(NotFound):
        ask(story, "ImageStreamTag", "app:wish")
    found = ask(story, "ImageTag", "app:wish")
    assert found["spec"]["from"]["name"] == "quay.io/a/b:c" and found["status"] is None
    names = [
        [item["metadata"]["name"] for item in ask(story, kind)["items"]] for kind in ("ImageStreamTag", "ImageTag")
    ]
    assert names == [["app:a"], ["app:a", "app:wish"]]


@pytest.mark.parametrize("kind", ["ImageStream", "ImageStreamTag", "ImageTag"])
def test_what_was_read_can_be_sent_back(kind: str) -> None:
    """And changes nothing."""
    story = Story(image_stream({"b": {"from": alias("a")}}), mapping("a", "1"), on("HoldTag", "b"))
    found = ask(story, kind, "app" if kind == "ImageStream" else "app:b")
    assert story.do(msgspec.to_builtins(found)) == []


def test_another_status_than_the_stored_one_can_not_be_sent_back() -> None:
    """An ImageTag changes its spec only."""
    story = Story(image_stream({"b": {"from": alias("a")}}), mapping("a", "1"))
    found = ask(story, "ImageTag", "app:b")
    found["status"]["items"][0]["image"] = digest("2")
    found["metadata"]["labels"] = {"a": "b"}
    with pytest.raises(Invalid) as refused:
        story.do(found)
    assert [fault.field for fault in refused.value.faults] == ["metadata", "status"]


def test_an_image_tag_without_a_spec_loses_its_wish_and_keeps_its_history() -> None:
    """The tag can still be pulled."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a")), on("ImageTag", "b"))
    assert story.state().tag("b").spec is None
    assert story.head("b") == digest("1")


def test_a_local_tag_is_pulled_through_the_internal_registry() -> None:
    """Its image keeps where it came from."""
    story = Story(mapping("a", "1"), tag_of("b", alias("a"), referencePolicy={"type": "Local"}))
    found = ask(story, "ImageStreamTag", "app:b")
    assert found["image"]["dockerImageReference"] == f"registry:5000/test/app@{digest('1')}"


def test_an_image_is_seen_through_the_image_stream_that_ever_held_it() -> None:
    """At any depth, by prefix, and no other."""
    story = Story(mapping("a", "1"), mapping("a", "2"), mapping("a", "3") | {"metadata": {"name": "other"}})
    found = ask(story, "ImageStreamImage", f"app@{digest('1')[:14]}")
    assert found["image"]["metadata"]["name"] == digest("1")
    with pytest.raises(NotFound):
        ask(story, "ImageStreamImage", f"app@{digest('3')}")
    with pytest.raises(Conflict) as refused:
        ask(story, "ImageStreamImage", "app@sha256:")
    assert digest("1") in str(refused.value) and digest("2") in str(refused.value)


def test_the_children_of_a_list_are_seen_through_it() -> None:
    """Once they are recorded themselves."""
    body = sample("imagestreammapping-index.json")
    story = Story(body)
    name = body["metadata"]["name"]
    child = asyncio.run(story.log.image(body["image"]["metadata"]["name"])).data["dockerImageManifests"][0]["digest"]
    with pytest.raises(NotFound, match="images"):
        ask(story, "ImageStreamImage", f"{name}@{child}")
    posted = mapping("x", "1") | {"metadata": {"name": "elsewhere"}}
    posted["image"] = {"metadata": {"name": child}, "dockerImageReference": f"r/x@{child}"}
    story.do(posted)
    assert ask(story, "ImageStreamImage", f"{name}@{child}")["image"]["metadata"]["name"] == child


def test_layers_tell_what_an_image_stream_makes_reachable() -> None:
    """Every image of its history, its layers with their sizes, and what is missing."""
    body = sample("imagestreammapping-oci.json")
    story = Story(body)
    found = ask(story, "ImageStreamLayers", body["metadata"]["name"])
    image, layer = body["image"]["metadata"]["name"], body["image"]["dockerImageLayers"][0]
    assert found["images"][image]["layers"] == [layer["name"]]
    assert found["blobs"][layer["name"]] == {"size": layer["size"], "mediaType": layer["mediaType"]}
    story.log.stored = [stored for stored in story.log.stored if not hasattr(stored[1], "data")]
    assert ask(story, "ImageStreamLayers", body["metadata"]["name"])["images"] == {image: {"imageMissing": True}}


def test_the_past_is_told_by_the_log() -> None:
    """Rows of current tags as they were: holds, pull specs and deleted tags included."""
    story = Story(mapping("a", "1"), mapping("b", "2"), on("HoldTag", "a"), on("DeleteImageStreamTag", "b"))
    then = ask(story, "AsOf", time=at(3))["items"]
    assert [(row["tag"], row["image"], row["held_by"]) for row in then] == [
        ("a", digest("1"), "alice"),
        ("b", digest("2"), None),
    ]
    assert [row["tag"] for row in ask(story, "AsOf", time=at(4))["items"]] == ["a"]
    assert ask(story, "AsOf", "app", time=at(0))["items"] == []
    assert [row["moves"] for row in ask(story, "AsOf", "app", time=at(1))["items"]] == [1]
    with pytest.raises(NotFound, match='"nope" not found'):
        ask(story, "AsOf", "nope", time=at(1))


def test_a_time_that_is_none_is_a_bad_request() -> None:
    """The past needs a time."""
    with pytest.raises(BadRequest, match="RFC 3339"):
        ask(Story(), "AsOf", time="yesterday")


def test_who_has_no_grant_reads_nothing() -> None:
    """Neither an object nor a list."""
    queries = Queries(Story(mapping("a", "1")).log, Grants({"bob": ["test"]}))
    for kind in ("ImageStream", "ImageTag", "AsOf"):
        with pytest.raises(Forbidden):
            asyncio.run(queries.answer("alice", "test", Query(kind=kind, time=at(1))))


def test_an_unknown_kind_names_the_known_ones() -> None:
    """As commands do."""
    with pytest.raises(BadRequest) as refused:
        ask(Story(), "Nope")
    assert all(kind in str(refused.value) for kind in KINDS)


@pytest.mark.parametrize(
    ("body", "field"),
    [({"kind": "AsOf", "tiem": "x"}, "tiem"), ({"kind": "AsOf", "limit": "x"}, "limit"), ({"kind": 1}, "kind")],
)
def test_a_query_of_the_wrong_shape_is_invalid_at_its_field(body: dict[str, Any], field: str) -> None:
    """As a command would be."""
    with pytest.raises(Invalid) as refused:
        read_query(msgspec.json.encode(body))
    assert [fault.field for fault in refused.value.faults] == [field]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_query_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(BadRequest):
        read_query(body)
