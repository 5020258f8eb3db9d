"""Requests, the queue, ids, dry runs, wrong input and queries, seen by a stranger's program."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.outside import Object, Outside, causes, digest, moves

A, B = digest(1), digest(2)
HOLD = {"kind": "HoldTag", "metadata": {"name": "in:x"}}


def test_a_command_that_wrote_never_writes_again(outside: Outside) -> None:
    """However late: the same id gets the first answer; one that had no effect is judged anew."""
    first = outside.push("cm/id:x", 1, Tagstack_Command_Id="id-1")
    assert outside.push("cm/id:x", 2, Nats_Msg_Id="id-2")["details"]["changed"] is True
    assert outside.push("cm/id:x", 1, Tagstack_Command_Id="id-1")["details"] == first["details"]
    assert [row["cause"] for row in outside.stack("cm/id:x")] == ["id-2", "id-1"]
    assert outside.push("cm/id:x", 2, Tagstack_Command_Id="id-3")["details"]["changed"] is False
    outside.push("cm/id:x", 1)
    assert moves(outside.push("cm/id:x", 2, Tagstack_Command_Id="id-3")) == [("x", B, A)]


def test_an_event_says_who_when_why_and_because_of_what(outside: Outside) -> None:
    """With CloudEvents headers, and an id made of image stream, command and number."""
    outside.push("cm/who.is:x", 1, actor="Ann@example.org", Tagstack_Reason="why", Tagstack_Command_Id="who")
    message = outside.last("TAGSTACK_EVENTS", "tagstack.events.cm.who%2Eis.tag.x")
    event, headers = json.loads(message.data), message.headers
    assert (event["actor"], event["reason"], event["cause"]) == ("Ann@example.org", "why", "who")
    assert (event["origin"], event["causedBy"], event["last"]) == ("mapping", None, True)
    assert headers["ce-type"] == "dev.tagstack.image_tagged"
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == "cm/who.is/who/2"
    image = outside.last("TAGSTACK_EVENTS", f"tagstack.images.sha256.{A[7:]}.recorded")
    assert image.headers["ce-type"] == "dev.tagstack.image_recorded" and "Nats-Msg-Id" not in image.headers


def test_a_missing_image_stream_is_created_unless_told_not_to(outside: Outside) -> None:
    """Together with its tag, or not at all."""
    assert outside.push("cm/new:x", 1, Tagstack_Create="false")["reason"] == "NotFound"
    assert outside.query("ImageStream", "cm", "new")["reason"] == "NotFound"
    done = outside.push("cm/new:x", 1)
    types = [event["type"] for event in outside.events("image_stream = 'new'", done["details"]["position"])]
    assert types == ["image_stream_created", "image_tagged"]


def test_an_expected_head_that_is_another_is_a_conflict(outside: Outside) -> None:
    """By image or by the position of the head's event; what is expected rightly goes on."""
    at = outside.push("cm/exp:x", 1)["details"]["position"]
    for wrong in ({"expectedImage": B}, {"expectedPosition": at + 1}):
        assert outside.command("HoldTag", "cm/exp:x", wrong)["reason"] == "Conflict"
    assert outside.command("HoldTag", "cm/exp:x", {"expectedImage": A, "expectedPosition": at})["status"] == "Success"


@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [
        ("ImageStreamMapping", "dry-new", {"tag": "x", "image": {"dockerImageReference": f"r.example/a@{B}"}}),
        ("ImageStreamMapping", "dry", {"tag": "x", "image": {"dockerImageReference": f"r.example/a@{B}"}}),
        ("ImageStreamTag", "dry:y", {"tag": {"from": {"kind": "ImageStreamTag", "name": "x"}}}),
        ("ImageStream", "dry", {"spec": {"lookupPolicy": {"local": True}}}),
        ("ImageStream", "dry-new", {}),
        ("HoldTag", "dry:x", {}),
        ("PromoteTag", "dry:p", {"from": {"namespace": "cm", "name": "dry:x"}}),
        ("DeleteImageStreamTag", "dry:x", {}),
        ("DeleteImageStream", "dry", {}),
        ("RollbackTag", "dry:x", {}),
    ],
)
def test_a_dry_run_stores_nothing(outside: Outside, kind: str, name: str, body: Object) -> None:
    """The reply says what would happen; the log stays as it is."""
    if not outside.query("History", "cm", "dry:x").get("items"):
        outside.push("cm/dry:x", 2)
        outside.push("cm/dry:x", 1)
    before = outside.wait(outside.js.stream_info("TAGSTACK_EVENTS")).state.last_seq
    told = outside.command(kind, f"cm/{name}", body | {"dryRun": True})
    assert told["status"] == "Success" and told["details"]["changed"] is True
    assert outside.wait(outside.js.stream_info("TAGSTACK_EVENTS")).state.last_seq == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"kind": "HoldTag"}, ["metadata.name"]),
        ({"kind": "HoldTag", "metadata": {"name": "in"}}, ["metadata.name"]),
        (HOLD | {"a": 1, "b": 2}, ["a", "b"]),
        (HOLD | {"dryRun": "yes"}, ["dryRun"]),
        (
            {"kind": "ImageStreamMapping", "metadata": {"name": "in"}, "tag": "-x", "image": {"foo": 1}},
            ["tag", "image.metadata.name", "image.dockerImageReference"],
        ),
        ({"kind": "ImageStreamMapping", "metadata": {"name": "in"}}, ["tag", "image"]),
    ],
)
def test_all_faults_are_told_at_once(outside: Outside, body: Object, fields: list[str]) -> None:
    """With OpenShift's field paths; unknown fields within `image` and `metadata` are ignored."""
    status = outside.raw("tagstack.commands.bob.cm.in", body)
    assert causes(status) == fields and status["code"] == 422
    assert all(set(cause) == {"field", "reason", "message"} for cause in status["details"]["causes"])


@pytest.mark.parametrize(
    ("subject", "body", "message"),
    [
        ("bob.cm.in", b"{", "no JSON"),
        ("bob.cm.in", b"null", "got null"),
        ("bob.cm.in", b"[]", "got a list"),
        ("bob.cm.in", b'{"kind": "Nope"}', "Nope"),
        ("bob.cm.other", HOLD, "other"),
        ("bob.cm.in", HOLD | {"metadata": {"name": "in:x", "namespace": "zz"}}, "namespace"),
        ("bob.cm.in", HOLD | {"apiVersion": "v9"}, "v9"),
        ("bob.cm.%69n", HOLD, "canonical"),
        ("b%2eb.cm.in", HOLD, "canonical"),
        (f"{'a' * 254}.cm.in", HOLD, "253"),
    ],
)
def test_what_is_unreadable_or_addressed_wrongly_is_a_bad_request(
    outside: Outside, subject: str, body: Any, message: str
) -> None:
    """The message names the rule or the value."""
    status = outside.raw(f"tagstack.commands.{subject}", body)
    assert (status["status"], status["reason"], status["code"]) == ("Failure", "BadRequest", 400)
    assert message in status["message"]


def test_the_queue_keeps_order_and_tells_what_it_refused(outside: Outside) -> None:
    """The id of a queued command is its own or `queue:<sequence>`; a refused one lies in TAGSTACK_DEAD as sent."""
    image = {"dockerImageReference": f"r.example/a@{A}"}
    mapping = {"kind": "ImageStreamMapping", "metadata": {"name": "q"}, "tag": "x", "image": image}
    refused = {"kind": "HoldTag", "metadata": {"name": "q:none"}}
    sequences = [
        outside.wait(outside.js.publish("tagstack.queue.bob.cm.q", json.dumps(body).encode())).seq
        for body in (mapping, refused, {"kind": "HoldTag", "metadata": {"name": "q:x"}})
    ]
    outside.until(lambda: outside.query("ImageStreamTag", "cm", "q:x").get("hold"))
    assert outside.stack("cm/q:x")[0]["cause"] == f"queue:{sequences[0]}"
    dead = outside.until(lambda: outside.last("TAGSTACK_DEAD", "tagstack.dead.bob.cm.q"))
    assert json.loads(dead.data) == refused and "not found" in dead.headers["Tagstack-Dead-Reason"]


@pytest.mark.parametrize("kind", ["ImageStream", "ImageStreamTag", "AsOf"])
def test_a_list_has_as_many_items_as_asked_for(outside: Outside, kind: str) -> None:
    """And every item once over all pages; text sorts `pg-eu/` before `pg/`, projects do not."""
    for ref in ("pg/a:x", "pg/a:y", "pg/b:x", "pg-eu/a:x"):
        outside.push(ref, 1)
    found, pages, start = [], 0, ""
    while pages == 0 or start:
        page = outside.query(kind, "*", time="2099-01-01T00:00:00Z", limit=1, **{"continue": start})
        assert len(page["items"]) <= 1
        found += page["items"]
        start, pages = page["metadata"].get("continue", ""), pages + 1
    whole = outside.query(kind, "*", time="2099-01-01T00:00:00Z")["items"]
    assert found == whole and len(whole) >= 3


def test_a_history_is_read_in_pages(outside: Outside) -> None:
    """New entries that come meanwhile are in none of the pages that follow."""
    for number in (1, 2, 3):
        outside.push("pg/hist:x", number)
    whole = outside.stack("pg/hist:x")
    first = outside.query("History", "pg", "hist:x", limit=2)
    outside.push("pg/hist:x", 4)
    rest = outside.query("History", "pg", "hist:x", **{"continue": first["metadata"]["continue"]})
    assert [row["position"] for row in first["items"] + rest["items"]] == [row["position"] for row in whole]
    assert outside.query("History", "pg", "hist:x", **{"continue": "x"})["reason"] == "BadRequest"
