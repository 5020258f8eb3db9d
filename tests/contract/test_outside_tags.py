"""Aliases, followers, promotion, protection and images, seen by a stranger's program."""

from __future__ import annotations

import json
import urllib.parse

import pytest

from tests.contract.outside import Object, Outside, causes, digest, moves

A, B = digest(1), digest(2)


def test_aliases_follow_transitively_in_one_command(outside: Outside) -> None:
    """All moves stand in one command, the last event says so; a cycle is refused."""
    outside.push("al/one:src", 1)
    outside.tag("al/one:b", "src")
    outside.tag("al/one:a", "one:b")
    outside.tag("al/one:c", "src")
    moved = outside.push("al/one:src", 2, Tagstack_Command_Id="move-1")
    assert sorted(moves(moved)) == [(tag, B, A) for tag in ("a", "b", "c", "src")]
    events = outside.events("cause = 'move-1' AND type = 'image_tagged'", moved["details"]["position"])
    assert [event["data"]["last"] for event in events] == [False, False, False, True]
    assert {event["origin"] for event in events} == {"mapping", "alias"}
    assert causes(outside.tag("al/one:src", "a")) == ["tag.from.name"]
    circle = [{"name": name, "from": {"kind": "ImageStreamTag", "name": other}} for name, other in ("ab", "ba")]
    refused = outside.command("ImageStream", "al/one", {"spec": {"tags": circle}})
    assert causes(refused) == ["spec.tags[a].from.name"] and refused["details"]["kind"] == "ImageStream"


def test_a_held_alias_stays_and_moves_on_release(outside: Outside) -> None:
    """What its source brought is withheld, and the source moves."""
    outside.push("al/held:src", 1)
    outside.tag("al/held:a", "src")
    outside.command("HoldTag", "al/held:a")
    assert moves(outside.push("al/held:src", 2)) == [("src", B, A)]
    assert moves(outside.command("ReleaseTag", "al/held:a", {"advance": True})) == [("a", B, A)]


def test_a_follower_of_another_image_stream_moves_by_its_own_command(outside: Outside) -> None:
    """Caused by the source's event, with the source's actor and an id made of position and tag, through a chain."""
    outside.push("al/far:src", 1)
    follow = {"annotations": {"tagstack.dev/follow": "true"}}
    assert moves(outside.tag("al/near:v1.0", "far:src", **follow)) == [("v1.0", A, None)]
    outside.tag("al2/end:x", "al/near:v1.0", **follow)
    outside.settle()
    moved = outside.push("al/far:src", 2, actor="eve")["details"]["position"]
    outside.until(lambda: outside.stack("al2/end:x")[0]["image"] == B)
    near, end = outside.stack("al/near:v1.0")[0], outside.stack("al2/end:x")[0]
    assert (near["cause"], near["caused_by"]) == (f"{moved}/al/near:v1.0", moved)
    assert (end["cause"], end["caused_by"]) == (f"{near['position']}/al2/end:x", near["position"])
    assert near["actor"] == end["actor"] == "eve" and near["origin"] == "alias"


def test_a_copy_of_another_image_stream_stays(outside: Outside) -> None:
    """From an ImageStreamTag of another image stream it is a copy, from an ImageStreamImage a pin."""
    outside.push("al/from:src", 1)
    outside.tag("al/copy:x", "from:src")
    outside.tag("al/copy:pin", f"from@{A}", "ImageStreamImage")
    outside.push("al/from:src", 2)
    assert [outside.stack(f"al/copy:{tag}")[0]["image"] for tag in ("x", "pin")] == [A, A]


def test_more_than_900_tags_at_once_are_invalid(outside: Outside) -> None:
    """900 aliases and their source are one too many; with one fewer all of them move together."""
    spec = {
        "tags": [{"name": f"t{number:03}", "from": {"kind": "ImageStreamTag", "name": "s"}} for number in range(900)]
    }
    assert outside.command("ImageStream", "al/many", {"spec": spec})["status"] == "Success"
    assert outside.push("al/many:s", 1)["reason"] == "Invalid"
    outside.command("DeleteImageStreamTag", "al/many:t899")
    assert len(moves(outside.push("al/many:s", 1))) == 900


def test_a_promotion_keeps_where_it_came_from(outside: Outside) -> None:
    """`promotedFrom` says image stream, tag, image, position and actor; nothing to promote is NotFound."""
    source = outside.push("al/build:v1", 1, actor="ci")["details"]["position"]
    wanted = {"from": {"namespace": "al", "name": "build:v1"}}
    done = outside.command("PromoteTag", "prod/app:live", wanted, actor="ann", Tagstack_Reason="release")
    assert moves(done) == [("live", A, None)]
    (row,) = outside.stack("prod/app:live")
    assert (row["origin"], row["actor"], row["reason"]) == ("promote", "ann", "release")
    event = json.loads(outside.last("TAGSTACK_EVENTS", "tagstack.events.prod.app.tag.live").data)
    told = json.dumps(event["head"]["promotedFrom"])
    assert all(json.dumps(part) in told for part in (A, source, "ci"))
    missing = {"from": {"namespace": "al", "name": "build:none"}}
    assert outside.command("PromoteTag", "prod/app:live", missing)["reason"] == "NotFound"
    assert causes(outside.command("PromoteTag", "prod/app:live")) == ["from.name"]


def test_protected_tags_never_move_once_set(outside: Outside) -> None:
    """Neither by push, alias, rollback nor delete; the message names the pattern; others move."""
    annotations = {"tagstack.dev/protected-tags": "v*,release-*"}
    outside.command("ImageStream", "al/prot", {"metadata": {"name": "prot", "annotations": annotations}})
    outside.push("al/prot:v1", 1)
    refused = outside.push("al/prot:v1", 2)
    assert refused["reason"] == "Forbidden" and refused["code"] == 403 and "v*" in refused["message"]
    assert outside.push("al/prot:v1", 1)["details"]["changed"] is False
    assert outside.command("DeleteImageStreamTag", "al/prot:v1")["reason"] == "Forbidden"
    outside.push("al/prot:latest", 1)
    assert moves(outside.push("al/prot:latest", 2)) == [("latest", B, A)]


def test_an_isimage_is_seen_at_any_depth_and_nowhere_else(outside: Outside) -> None:
    """By digest or unique prefix; an ambiguous one is Conflict with its candidates; child manifests count."""
    for number in (1, 2):
        outside.push("al/deep:x", number)
    outside.push("al/other:x", 3)
    assert outside.query("ImageStreamImage", "al", f"deep@{A}")["image"]["metadata"]["name"] == A
    assert outside.query("ImageStreamImage", "al", f"deep@{digest(3)}")["reason"] == "NotFound"
    ambiguous = outside.query("ImageStreamImage", "al", "deep@sha256:00")
    assert ambiguous["reason"] == "Conflict" and A in ambiguous["message"] and B in ambiguous["message"]
    child = {"digest": A, "mediaType": "a/b", "manifestSize": 1, "architecture": "amd64", "os": "linux"}
    image = {"metadata": {"name": digest(9)}, "dockerImageReference": "r.example/l", "dockerImageManifests": [child]}
    assert moves(outside.command("ImageStreamMapping", "al/list", {"tag": "x", "image": image}))
    assert outside.query("ImageStreamImage", "al", f"list@{A}")["image"]["metadata"]["name"] == A


def test_images_signatures_and_annotations_stand_on_their_own(outside: Outside) -> None:
    """They are sent to `_._`; the image never changes, and the same again is no event."""
    name = digest(77)

    def send(kind: str, body: Object) -> Object:
        return outside.raw("tagstack.commands.bob._._", {"kind": kind} | body)

    image = {"metadata": {"name": name}, "dockerImageReference": "r.example/a:1"}
    signature = {"metadata": {"name": f"{name}@first"}, "type": "AtomicImageV1", "content": "aGVsbG8="}
    annotations = {"metadata": {"name": name, "annotations": {"seen": "yes"}}}
    for kind, body in (("Image", image), ("ImageSignature", signature), ("ImageAnnotations", annotations)):
        assert send(kind, body)["details"]["changed"] is True
        assert send(kind, body)["details"]["changed"] is False
    send("Image", image | {"dockerImageReference": "r.example/b:2"})
    found = outside.query("Image", "_", name)
    assert found["dockerImageReference"] == "r.example/a:1" and found["metadata"]["annotations"] == {"seen": "yes"}
    assert [each["metadata"]["name"] for each in found["signatures"]] == [f"{name}@first"]
    assert outside.raw("tagstack.commands.bob.al.deep", {"kind": "Image"} | image)["reason"] == "BadRequest"


@pytest.mark.parametrize("tag", ["v1.2.3", "x", "A_b-C.d"])
def test_a_tags_last_event_is_found_under_its_token(outside: Outside, tag: str) -> None:
    """One token per name, percent-encoded; `TAGSTACK_TAGS` keeps a deleted tag as `tag_deleted` without an image."""
    token = urllib.parse.quote(tag, safe="").replace(".", "%2E")
    with outside.changes("tagstack.changed.al.tok.*") as take:
        outside.push(f"al/tok:{tag}", 1)
        outside.command("DeleteImageStreamTag", f"al/tok:{tag}")
        told = take(2)
    assert [(subject, event["type"], event["image"]) for subject, event in told] == [
        (f"tagstack.changed.al.tok.{token}", "image_tagged", A),
        (f"tagstack.changed.al.tok.{token}", "tag_deleted", None),
    ]
    kept = json.loads(outside.last("TAGSTACK_TAGS", f"tagstack.tags.al.tok.{token}").data)
    assert (kept["type"], kept["image"], kept["head"]) == ("tag_deleted", None, None)
