"""The rules of the stack, seen by a stranger's program."""

from __future__ import annotations

from tests.contract.outside import Outside, causes, digest, moves

A, B, C = digest(1), digest(2), digest(3)


def test_a_b_a_is_a_stack_of_three(outside: Outside) -> None:
    """A new image goes on top, A-B-A is legal, and the reply tells position, change and moves."""
    first = outside.push("st/aba:x", 1)
    assert first["kind"] == "Status" and first["status"] == "Success"
    assert set(first["details"]) == {"position", "changed", "withheld", "moves"}
    assert moves(first) == [("x", A, None)]
    assert moves(outside.push("st/aba:x", 2)) == [("x", B, A)]
    last = outside.push("st/aba:x", 1)
    stack = outside.stack("st/aba:x")
    assert [row["image"] for row in stack] == [A, B, A]
    assert [row["stack_position"] for row in stack] == [1, 2, 3]
    assert stack[0]["position"] == last["details"]["position"] and stack[0]["valid_to"] is None
    assert stack[1]["valid_to"] == stack[0]["valid_from"]


def test_the_same_image_with_another_pull_spec_updates_the_head(outside: Outside) -> None:
    """That is an event but no entry; the same image and pull spec again is no event."""
    outside.push("st/spec:x", 1)
    changed = outside.push("st/spec:x", 1, pull_spec=f"other.example/a@{A}")
    again = outside.push("st/spec:x", 1, pull_spec=f"other.example/a@{A}")
    assert changed["details"]["changed"] is True and moves(changed) == []
    assert again["details"]["changed"] is False and again["details"]["position"] == changed["details"]["position"]
    (row,) = outside.stack("st/spec:x")
    assert row["pull_spec"] == f"other.example/a@{A}"


def test_rolling_back_twice_goes_two_images_back(outside: Outside) -> None:
    """Steps count from the entry that the head restores; below the bottom is NotFound; a rollback holds."""
    positions = [outside.push("st/steps:x", number)["details"]["position"] for number in (1, 2, 3)]
    assert moves(outside.command("RollbackTag", "st/steps:x")) == [("x", B, C)]
    assert moves(outside.command("RollbackTag", "st/steps:x")) == [("x", A, B)]
    assert outside.command("RollbackTag", "st/steps:x")["reason"] == "NotFound"
    assert [row["restores"] for row in outside.stack("st/steps:x")] == [positions[0], positions[1], None, None, None]
    withheld = outside.push("st/steps:x", 4)
    assert withheld["details"]["withheld"] is True and moves(withheld) == []


def test_rollback_by_stack_position_image_and_time(outside: Outside) -> None:
    """Each way chooses the entry; two ways at once, none that fits and a wrong type are refused by path."""
    for number in (1, 2, 3):
        outside.push("st/ways:x", number)
    second = outside.stack("st/ways:x")[1]

    def to(**how: object) -> dict:
        return outside.command("RollbackTag", "st/ways:x", {"to": how, "dryRun": True})

    assert moves(to(stackPosition=3)) == [("x", A, C)]
    assert moves(to(image=B)) == [("x", B, C)]
    assert moves(to(time=second["valid_from"])) == [("x", B, C)]
    assert to(stackPosition=9)["reason"] == to(image="sha256:ff")["reason"] == "NotFound"
    assert to(time="2020-01-01T00:00:00Z")["reason"] == "NotFound"
    ambiguous = to(image="sha256:00")
    assert ambiguous["reason"] == "Conflict" and all(image in ambiguous["message"] for image in (A, B, C))
    assert causes(to(steps="1")) == ["to.steps"] and causes(to(steps=1, image=A)) == ["to"]


def test_a_rollback_to_the_top_is_only_a_hold(outside: Outside) -> None:
    """No entry, but a hold unless `hold: false`, which leaves an existing hold alone."""
    outside.push("st/top:x", 1)
    plain = outside.command("RollbackTag", "st/top:x", {"to": {"stackPosition": 1}, "hold": False})
    assert plain["details"]["changed"] is False
    held = outside.command("RollbackTag", "st/top:x", {"to": {"stackPosition": 1}})
    assert held["details"]["changed"] is True and moves(held) == []
    outside.command("RollbackTag", "st/top:x", {"to": {"stackPosition": 1}, "hold": False})
    assert outside.query("ImageStreamTag", "st", "top:x")["hold"]["actor"] == "bob"
    assert len(outside.stack("st/top:x")) == 1


def test_a_held_tag_is_moved_by_release_advance_only(outside: Outside) -> None:
    """Pushes and copies are withheld, a delete is Conflict unless forced, advance takes the newest."""
    for name in ("hold:x", "hold:y"):
        outside.push(f"st/{name}", 1)
        outside.command("HoldTag", f"st/{name}", Tagstack_Reason="freeze")
        outside.push(f"st/{name}", 2)
    assert outside.tag("st/hold:x", f"hold@{A}", "ImageStreamImage")["details"]["withheld"] is True
    outside.push("st/hold:x", 3)
    assert outside.command("DeleteImageStreamTag", "st/hold:x")["reason"] == "Conflict"
    assert outside.command("DeleteImageStream", "st/hold")["reason"] == "Conflict"
    assert moves(outside.command("ReleaseTag", "st/hold:x", {"advance": True})) == [("x", C, A)]
    assert moves(outside.command("ReleaseTag", "st/hold:y")) == []
    forgotten = outside.command("ReleaseTag", "st/hold:y", {"advance": True})
    assert forgotten["details"]["changed"] is False
    outside.command("HoldTag", "st/hold:x")
    assert moves(outside.command("DeleteImageStreamTag", "st/hold:x", {"force": True})) == [("x", None, C)]
    assert outside.push("st/hold:x", 1)["details"]["withheld"] is False, "a delete ends a hold"


def test_a_deleted_tag_keeps_its_stack_and_can_be_rolled_back_to(outside: Outside) -> None:
    """History counts through deletes; OpenShift's view shows what came after the last one."""
    for number in (1, 2):
        outside.push("st/gone:x", number)
    outside.command("DeleteImageStreamTag", "st/gone:x")
    assert outside.query("ImageStreamTag", "st", "gone:x")["reason"] == "NotFound"
    assert all(row["deleted"] for row in outside.stack("st/gone:x"))
    assert moves(outside.command("RollbackTag", "st/gone:x")) == [("x", B, None)]
    stack = outside.stack("st/gone:x")
    assert [row["image"] for row in stack] == [B, B, A] and stack[0]["deleted"] is None
    assert stack[1]["valid_to"] < stack[0]["valid_from"]
    (shown,) = outside.query("ImageStream", "st", "gone")["status"]["tags"]
    assert [item["image"] for item in shown["items"]] == [B]


def test_an_image_stream_that_is_made_again_has_a_new_uid(outside: Outside) -> None:
    """And generation 1; its old tags are gone at once, and their history stays."""
    outside.push("st/again:old", 1)
    outside.tag("st/again:alias", "old")
    before = outside.query("ImageStream", "st", "again")["metadata"]
    outside.command("DeleteImageStream", "st/again")
    outside.push("st/again:new", 2)
    after = outside.query("ImageStream", "st", "again")
    assert after["metadata"]["uid"] != before["uid"]
    assert (before["generation"], after["metadata"]["generation"]) == (2, 1)
    assert [tag["tag"] for tag in after["status"]["tags"]] == ["new"] and "tags" not in after["spec"]
    assert outside.stack("st/again:old")[0]["deleted"] is not None


def test_only_a_changed_spec_raises_the_generation(outside: Outside) -> None:
    """A push and a label do not; a tag's spec and the lookup policy do."""

    def generation() -> int:
        return outside.query("ImageStream", "st", "gen")["metadata"]["generation"]

    outside.push("st/gen:x", 1)
    outside.push("st/gen:x", 2)
    outside.command("ImageStream", "st/gen", {"metadata": {"name": "gen", "labels": {"a": "b"}}})
    assert generation() == 1
    outside.tag("st/gen:y", "x")
    outside.tag("st/gen:y", "x")
    assert generation() == 2
    spec = outside.query("ImageStream", "st", "gen")["spec"] | {"lookupPolicy": {"local": True}}
    outside.command("ImageStream", "st/gen", {"spec": spec})
    assert generation() == 3
