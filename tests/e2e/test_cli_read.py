"""The verbs that read the log, over a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.e2e.cli_service import Push, Result, Service, digest, mapping, namespace, push, service, tagstack

__all__ = ["namespace", "push", "service", "tagstack"]  # fixtures

Cli = Callable[..., Result]
A, B = digest("a"), digest("b")


def test_get_lists_image_streams(push: Push, tagstack: Cli, namespace: str) -> None:
    """A list has OpenShift's columns; -A has a column for the namespace; tags stand in order of priority."""
    for tag in ("latest", "1.9", "1.10", "zz"):
        push(f"app:{tag}", A)
    head, row = tagstack("get", "is").out.splitlines()
    assert head.split() == ["NAME", "IMAGE", "REPOSITORY", "TAGS", "UPDATED"]
    assert row.split()[:2] == ["app", "latest,1.10,1.9"] and "+ 1 more..." in row
    everywhere = tagstack("get", "imagestreams", "-A").out.splitlines()
    assert everywhere[0].startswith("NAMESPACE")
    assert any(line.split()[:2] == [namespace, "app"] for line in everywhere)


def test_a_list_names_what_can_not_be_read(service: Service, push: Push, tagstack: Cli, namespace: str) -> None:
    """An event that nothing can read costs a list that image stream, which is named, and no other; exit 1.

    Seen to fail when the list is refused as a whole.
    """
    push("app:latest", A)
    service.call(service.nc.jetstream().publish(f"tagstack.events.{namespace}.strange.stream", b"\xffno event"))
    for resource, listed in (("is", "app"), ("istag", "app:latest"), ("itag", "app:latest")):
        found = tagstack("get", resource)
        assert found.out.splitlines()[1].split()[0] == listed
        assert f"error: {namespace}/strange: the event at position" in found.err
        assert found.code == 1


def test_what_can_not_be_read_is_told_by_its_position(
    service: Service, push: Push, tagstack: Cli, namespace: str
) -> None:
    """Asked for by name, or sent a command, the service is not out of reach (3): it says what is wrong (1), at once.

    Seen to fail when UnreadableEvent is no Refused.
    """
    push("app:latest", A)
    ack = service.call(service.nc.jetstream().publish(f"tagstack.events.{namespace}.app.stream", b"no event"))
    verbs = ("get is app", "get istag app:latest", "history app:latest", "tag app:latest app:v1")
    for verb in verbs:
        found = tagstack(*verb.split())
        assert found.err.startswith(f"error: the event at position {ack.seq} can't be read: ")
        assert (found.err.count("\n"), found.code) == (1, 1)


def test_get_prints_openshifts_object(push: Push, tagstack: Cli) -> None:
    """`-o yaml` of an image stream has status.tags[].items[], newest first."""
    push("app:latest", A)
    push("app:latest", B)
    found = yaml.safe_load(tagstack("get", "is", "app", "-o", "yaml").out)
    items = found["status"]["tags"][0]["items"]
    assert [item["image"] for item in items] == [B, A]
    assert {"created", "dockerImageReference", "generation", "image"} <= set(items[0])


def test_get_lists_tags_with_their_holder(push: Push, tagstack: Cli) -> None:
    """Tags are listed with their pull spec, and with who holds them and why."""
    push("app:latest", A)
    tagstack("hold", "app:latest", "--reason", "freeze")
    row = tagstack("get", "istag").out.splitlines()[1]
    assert row.split()[:2] == ["app:latest", f"registry.test/app@{A}"] and row.endswith("alice: freeze")
    assert A in tagstack("get", "istag/app:latest", "-o", "wide").out.splitlines()[1].split()


def test_get_of_an_image_by_a_prefix(push: Push, tagstack: Cli) -> None:
    """An image of an image stream is found by a unique prefix; an ambiguous one names the candidates."""
    push("app:latest", A)
    push("app:latest", "sha256:ab" + "0" * 62)
    assert tagstack("get", "isimage", "app@sha256:aa", "-o", "json").json["image"]["metadata"]["name"] == A
    ambiguous = tagstack("get", "isimage", "app@sha256:a")
    assert ambiguous.code == 1 and A in ambiguous.err
    assert tagstack("get", "image", A, "-o", "name").out == f"image.image.openshift.io/{A}\n"


def test_get_goes_on_after_what_is_missing(push: Push, tagstack: Cli) -> None:
    """Of several names the missing ones are told, the others shown; exit 1."""
    push("app:v1", A)
    done = tagstack("get", "istag", "app:none", "app:v1", "-o", "name")
    assert (done.code, done.out) == (1, "imagestreamtag.image.openshift.io/app:v1\n")
    assert done.err == 'error: imagestreamtags.image.openshift.io "app:none" not found\n'


def test_get_pages_through_large_lists(tagstack: Cli, tmp_path: Path) -> None:
    """A list whose answer does not fit in one message arrives in pages."""
    config = json.dumps({"config": {"Labels": {"long": "x" * 100}}})
    documents = [mapping(f"app{number}:{'v' * 120}{tag}", A) for number in range(3) for tag in range(5)]
    file = tmp_path / "many.json"
    file.write_text("".join(json.dumps(document | {"dockerImageConfig": config}) for document in documents[:0]))
    file.write_text("".join(map(json.dumps, documents)))
    assert tagstack("apply", "-f", str(file)).code == 0
    assert len(tagstack("get", "istag", "-o", "json").json["items"]) == 15


def test_describe_tells_everything(push: Push, tagstack: Cli) -> None:
    """A description names tag, image, holder and history."""
    push("app:latest", A, "--reason", "first")
    tagstack("tag", "--alias", "app:latest", "app:stable")
    tagstack("hold", "app:latest", "--reason", "freeze")
    stream = tagstack("describe", "is", "app").out
    assert "from ImageStreamTag" in stream and "held by alice since" in stream and "(mapping by alice: first)" in stream
    tag = tagstack("describe", "istag", "app:latest").out
    assert f"Image:         {A}" in tag and "History:" in tag and "freeze" in tag
    assert A in tagstack("describe", "isimage", f"app@{A}").out
    assert tagstack("describe", "is", "none").code == 1


def test_history_is_newest_first(push: Push, tagstack: Cli, namespace: str) -> None:
    """`history` shows every entry with who, when and why; as JSON the rows of tag_history."""
    push("app:latest", A, "--reason", "first")
    push("app:latest", B, "--actor", "bob")
    rows = tagstack("history", "app:latest", "-o", "json").json
    assert [(row["stack_position"], row["image"], row["actor"], row["reason"]) for row in rows] == [
        (1, B, "bob", ""),
        (2, A, "alice", "first"),
    ]
    assert rows[0]["valid_to"] is None and rows[1]["valid_to"] == rows[0]["valid_from"]
    assert tagstack("history", "app:latest", "-o", "name").out.splitlines()[1] == f"{namespace}/app:latest@{A}"
    assert tagstack("history", "app:none").code == 1


def test_as_of_a_project(push: Push, tagstack: Cli, namespace: str) -> None:
    """`as-of` of a project shows its tags as they were, also where no SQL is answered."""
    push("app:latest", A)
    since = tagstack("history", "app:latest", "-o", "json").json[0]["valid_from"]
    push("app:latest", B)
    assert [row["image"] for row in tagstack("as-of", since, namespace, "-o", "json").json] == [A]
    assert [row["image"] for row in tagstack("as-of", "now", "-n", namespace, "-o", "json").json] == [B]


def test_diff_of_images_and_tags(push: Push, tagstack: Cli, namespace: str) -> None:
    """`diff` compares two entries of a stack, two times of a tag, and the tags of a project."""
    push("app:latest", A)
    since = tagstack("history", "app:latest", "-o", "json").json[0]["valid_from"]
    push("app:latest", B)
    found = tagstack("diff", "app:latest@#2", "app:latest", "-o", "json").json
    assert (found["before"], found["after"]) == (A, B)
    assert "sha256:aaaaaaaaaaaa…" in tagstack("diff", f"app:latest@{since}", f"app@{B}").out
    moved = tagstack("diff", f"{namespace}/@{since}", "app@now", "-o", "json").json
    assert [(row["tag"], row["change"], row["previous_image"], row["image"]) for row in moved] == [
        ("latest", "moved", A, B)
    ]
    assert tagstack("diff", "app@now", "app").out == "no tag moved\n"
    assert tagstack("diff", "app:latest@#9", "app:latest").code == 1
    assert tagstack("diff", "app", "app:latest").code == 2


def test_a_diff_of_what_never_was(push: Push, tagstack: Cli) -> None:
    """An image stream that never was is not found, on either side; one that was deleted has a past."""
    push("app:latest", A)
    for sides in (("nope@2h", "nope@now"), ("app@now", "nope@now"), ("nope:a", "app:latest")):
        missing = tagstack("diff", *sides)
        assert (missing.code, missing.out) == (1, "") and "not found" in missing.err, sides
    assert tagstack("diff", "app@2h", "app@1h").out.startswith("there were no tags, neither at ")
    assert tagstack("delete", "is", "app").code == 0
    assert tagstack("diff", "app@now", "app@now").code == 0
    assert tagstack("diff", "empty/@2h", "empty/@now").out.startswith("there were no tags")


def test_watch_prints_each_change(push: Push, tagstack: Cli, namespace: str) -> None:
    """`watch --snapshot` begins with the last change of every tag that the pattern means."""
    push("app:latest", A, "--reason", "first")
    push("app:v1", A)
    push("other:v1", A)
    seen = tagstack("watch", f"{namespace}/app:*", "--snapshot", "--count", "2", "-o", "json")
    events = [json.loads(line) for line in seen.out.splitlines()]
    assert {event["tag"] for event in events} == {"latest", "v1"}
    assert all(event["position"] > 0 and event["image"] == A for event in events)
    line = tagstack("watch", "a*:l?test", "--snapshot", "-c", "1").out
    assert f"{namespace}/app:latest  moved to sha256:aaaaaaaaaaaa…  by alice (mapping): first" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "pods"),
        ("get", "isimage"),
        ("get", "is", "a/b/c"),
        ("get", "is", "-n", "Bad_"),
        ("get", "is", "-A", "app"),
        ("get", "is", "-o", "xml"),
        ("describe", "is"),
        ("history", "a/b/c:d"),
        ("as-of", "yesterday"),
        ("diff", "app:latest@#2"),
        ("diff", "app@nonsense", "app"),
        ("watch", "a/b/c"),
        ("watch", "app", "--count", "0"),
        ("log", "--limit", "0"),
        ("rollback", "app"),
        ("rollback", "app:v1", "--steps", "0"),
        ("rollback", "app:v1", "--steps", "1", "--time", "now"),
        ("sql", " "),
        ("sql", "SELECT 1", "--min-position", "-1"),
        ("dead", "retry"),
        ("dead", "list", "--limit", "0"),
        ("hold", "app:v1", "--actor", ""),
        ("nonsense",),
    ],
)
def test_usage(tagstack: Cli, arguments: tuple[str, ...]) -> None:
    """A command line that can't be understood is told in one line on stderr, exit 2."""
    done = tagstack(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and done.err.count("\n") == 1


def test_dead_letters(tagstack: Cli, service: Service, namespace: str) -> None:
    """Dead letters are listed, shown, queued again under their own id, and dropped.

    Seen to fail when `DeadLetters.retry` keeps the dead letter.
    """
    subject = f"tagstack.queue.bob.{namespace}.app"
    headers = {
        "Tagstack-Command-Id": f"id-{namespace}",
        "Nats-Msg-Id": f"dead/{namespace}",
        "Tagstack-Dead-Reason": "not valid",
        "Tagstack-Dead-Status": json.dumps({"kind": "Status", "status": "Failure", "reason": "Invalid"}),
        "Tagstack-Dead-Subject": subject,
        "Tagstack-Dead-Time": "2026-01-01T00:00:00.000000Z",
    }
    js = service.nc.jetstream()
    ids = []
    for number in range(2):
        letter = headers | {"Nats-Msg-Id": f"dead/{namespace}/{number}"}
        ack = service.call(js.publish(subject.replace(".queue.", ".dead."), b'{"kind": "HoldTag"}', headers=letter))
        ids.append(str(ack.seq))
    rows = [row for row in tagstack("dead", "list", "-o", "json").json if row["image_stream"] == f"{namespace}/app"]
    assert [(row["actor"], row["reason"]) for row in rows] == [("bob", "not valid")] * 2
    whole = tagstack("dead", "show", ids[0], "-o", "json").json
    assert whole["payload"] == {"kind": "HoldTag"} and whole["status"]["reason"] == "Invalid"
    assert tagstack("dead", "drop", ids[0], "--dry-run").out == f"dead letter {ids[0]} would be dropped\n"
    assert tagstack("dead", "drop", ids[0]).code == 0
    assert tagstack("dead", "retry", ids[1]).out == f"dead letter {ids[1]} queued again\n"
    assert tagstack("dead", "show", ids[1]).code == 1
    queued = service.call(js.get_last_msg("TAGSTACK_QUEUE", f"tagstack.queue.*.bob.{namespace}.app"))
    assert queued.headers["Tagstack-Command-Id"] == f"id-{namespace}" and queued.data == b'{"kind": "HoldTag"}'
    assert not [name for name in queued.headers if name.startswith("Tagstack-Dead")]
