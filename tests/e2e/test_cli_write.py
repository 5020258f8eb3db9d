"""The verbs that write, over a real server: what they do, what they print, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.e2e.cli_service import Push, Result, digest, mapping, namespace, push, service, tagstack

__all__ = ["namespace", "push", "service", "tagstack"]  # fixtures

Cli = Callable[..., Result]
A, B, C = digest("a"), digest("b"), digest("c")


def image_of(cli: Cli, ref: str) -> str:
    """Return the image a tag points at."""
    return str(cli("get", "istag", ref, "-o", "json").json["entry"]["image"])


def test_apply_says_where_the_tag_moved(push: Push, namespace: str) -> None:
    """A mapping is told in one line: which tag, to which image, from which, at which position."""
    assert push("app:latest", A).code == 0
    told = push("app:latest", B)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"{namespace}/app:latest moved to sha256:bbbbbbbbbbbb… (was sha256:aaaaaaaaaaaa…) at")


def test_apply_again_is_unchanged(push: Push, namespace: str) -> None:
    """The same mapping twice is success without an event."""
    push("app:latest", A)
    assert push("app:latest", A).out == f"{namespace}/app:latest unchanged\n"


def test_apply_prints_the_status(push: Push) -> None:
    """`-o json` prints the Status reply."""
    status = push("app:latest", A, "-o", "json").json
    assert status["kind"] == "Status"
    assert status["details"]["moves"] == [{"tag": "latest", "image": A, "previousImage": None}]


def test_apply_reads_yaml_with_times_and_lists(tagstack: Cli, tmp_path: Path, namespace: str) -> None:
    """Several YAML documents are sent in order, a list's items each; times stay text; -n fills in namespaces."""
    file = tmp_path / "all.yaml"
    listed = {"kind": "ImageStreamMappingList", "items": [mapping("two:v1", A) | {"kind": "ImageStreamMapping"}]}
    file.write_text(
        "kind: ImageStream\nmetadata:\n  name: one\n  creationTimestamp: 2016-01-29T13:33:49Z\n---\n---\n"
        + json.dumps(listed)
    )
    done = tagstack("apply", "-f", str(file), "-n", f"{namespace}x", "-o", "name")
    assert done.out.splitlines() == [
        "imagestream.image.openshift.io/one",
        "imagestreamtag.image.openshift.io/two:v1",
    ]
    assert tagstack("get", "is", "-o", "name", "-n", f"{namespace}x").out.count("imagestream.") == 2


def test_apply_goes_on_after_a_refusal(tagstack: Cli, tmp_path: Path) -> None:
    """Every fault of every refused document is told with its number and field; the others are carried out."""
    file = tmp_path / "some.json"
    bad = mapping("Bad_Name!:-x", "sha256:abc")
    file.write_text(
        json.dumps(bad) + json.dumps({"kind": "Nope", "metadata": {"name": "a"}}) + json.dumps(mapping("app:v1", A))
    )
    done = tagstack("apply", "-f", str(file))
    assert done.code == 1
    lines = done.err.splitlines()
    assert any(line.startswith("error: document 1: metadata.name: Invalid value") for line in lines)
    assert any(line.startswith("error: document 1: tag: Invalid value") for line in lines)
    assert any(line.startswith("error: document 2: ") and "Nope" in line for line in lines)
    assert image_of(tagstack, "app:v1") == A


def test_apply_sends_nothing_of_an_unreadable_file(tagstack: Cli, tmp_path: Path) -> None:
    """Broken YAML, JSON or encoding, a scalar, an empty or missing file: exit 2, and nothing is sent."""
    good = json.dumps(mapping("app:v1", A))
    for body in (good + "\n---\na: [", good + '{"kind": ', good + "\n--- 5", "", "kind: x\nkind: y", "\xff\xfe"):
        file = tmp_path / "broken"
        file.write_bytes(body.encode("latin-1"))
        done = tagstack("apply", "-f", str(file))
        assert (done.code, done.out) == (2, ""), body
        assert done.err.startswith(f"error: {file}: ") and done.err.count("\n") == 1
    assert tagstack("apply", "-f", str(tmp_path / "nothing")).code == 2
    assert tagstack("get", "is", "-o", "name").out == ""


def test_apply_of_too_large_a_body_is_refused(tagstack: Cli, tmp_path: Path) -> None:
    """A body over the server's limit is told with both sizes, exit 1."""
    file = tmp_path / "large.json"
    file.write_text(json.dumps(mapping("app:v1", A, dockerImageConfig="x" * 9_000_000)))
    done = tagstack("apply", "-f", str(file))
    assert done.code == 1
    assert "the server takes up to 8388608" in done.err


def test_dry_run_changes_nothing(push: Push, tagstack: Cli) -> None:
    """`--dry-run` says what would happen and stores nothing."""
    push("app:latest", A)
    told = push("app:latest", B, "--dry-run")
    assert "would move to sha256:bbbb" in told.out and "nothing was stored" in told.out
    assert image_of(tagstack, "app:latest") == A


def test_rollback_hold_and_release(push: Push, tagstack: Cli, namespace: str) -> None:
    """A rollback holds the tag; a push is withheld, told with the holder; release --advance moves on."""
    push("app:latest", A)
    push("app:latest", B)
    back = tagstack("rollback", "app:latest", "--reason", "broke the Übersicht")
    assert back.out.startswith(f"{namespace}/app:latest moved to sha256:aaaaaaaaaaaa… (was sha256:bbbbbbbbbbbb…) at")
    assert back.out.endswith(", held\n")
    assert "withheld: the tag is held by alice (broke the Übersicht) at position" in push("app:latest", C).out
    assert image_of(tagstack, "app:latest") == A
    told = tagstack("history", "app:latest").out
    assert "held by alice since" in told and "withheld 1, the newest sha256:cccccccccccc…" in told
    assert "moved to sha256:cccccccccccc…" in tagstack("release", "app:latest", "--advance").out


def test_rollback_targets(push: Push, tagstack: Cli) -> None:
    """A rollback goes back by steps, stack position, image prefix or time; below the bottom is refused."""
    for image in (A, B, C):
        push("app:latest", image)
    since = tagstack("history", "app:latest", "-o", "json").json[1]["valid_from"]
    for options, image in (
        (("--stack-position", "3"), A),
        (("--image", "sha256:cc"), C),
        (("--time", since), B),
    ):
        assert tagstack("rollback", "app:latest", "--no-hold", *options).code == 0
        assert image_of(tagstack, "app:latest") == image
    below = tagstack("rollback", "app:latest", "--steps", "99")
    assert (below.code, below.out) == (1, "")
    assert "below the bottom" in below.err


def test_hold_is_told_once(push: Push, tagstack: Cli, namespace: str) -> None:
    """A hold is told with its position; holding again tells who holds; a delete is refused unless forced."""
    push("app:latest", A)
    assert tagstack("release", "app:latest").out == f"{namespace}/app:latest unchanged: it is not held\n"
    first = tagstack("hold", "app:latest", "--reason", "freeze", "--actor", "bob")
    assert first.out.startswith(f"{namespace}/app:latest held at position")
    again = tagstack("hold", "app:latest", "--reason", "mine").out
    assert again.startswith(f"{namespace}/app:latest unchanged: held by bob since 20") and again.endswith(": freeze\n")
    assert tagstack("delete", "istag", "app:latest").code == 1
    assert tagstack("delete", "istag", "app:latest", "--force").code == 0
    assert tagstack("hold", "app:latest").code == 1


def test_a_command_may_expect_what_it_finds(push: Push, tagstack: Cli) -> None:
    """Every verb on a tag takes the head it expects, image or position; another head is a refusal that tells both."""
    push("app:latest", A)
    position = tagstack("history", "app:latest", "-o", "json").json[0]["position"]
    for verb in (
        ("tag", f"app@{A}", "app:latest", "--dry-run"),
        ("tag", "-d", "app:latest", "--dry-run"),
        ("promote", "app:latest", "app:latest", "--dry-run"),
        ("rollback", "app:latest", "--stack-position", "1"),
        ("hold", "app:latest"),
        ("release", "app:latest"),
        ("delete", "istag", "app:latest", "--dry-run"),
    ):
        other = tagstack(*verb, "--expected-image", B)
        assert other.code == 1 and f"expectedImage is '{B}', but the tag points at '{A}'" in other.err, verb
        later = tagstack(*verb, "--expected-position", str(position + 1))
        assert later.code == 1 and f"expectedPosition is {position + 1}, but" in later.err, verb
        assert tagstack(*verb, "--expected-image", A, "--expected-position", str(position)).code == 0, verb
    assert tagstack("tag", "app:latest", "app:new", "--expected-image", "").code == 0


def test_what_can_not_be_expected_is_told(push: Push, tagstack: Cli) -> None:
    """A position below 0, one position of several tags, and a head of an image stream make no sense."""
    push("app:latest", A)
    assert tagstack("hold", "app:latest", "--expected-position", "-1").code == 2
    assert tagstack("tag", "app:latest", "app:a", "app:b", "--expected-position", "1").code == 2
    assert tagstack("delete", "is", "app", "--expected-image", A).code == 2
    several = tagstack("tag", "app:latest", "app:a", "app:latest", "--expected-image", "")
    assert several.code == 1 and "/app:latest: expectedImage is ''" in several.err


def test_promote_keeps_the_tag_and_where_it_came_from(push: Push, tagstack: Cli, namespace: str) -> None:
    """A promotion without a destination tag keeps the source's, and says where the image came from."""
    push("app:v1", A)
    assert tagstack("promote", "app:v1", "live").code == 0
    entry = tagstack("get", "istag", "live:v1", "-o", "json").json["entry"]
    assert entry["promotedFrom"]["imageStream"] == f"{namespace}/app"


def test_delete_and_undelete(push: Push, tagstack: Cli) -> None:
    """A deleted image stream is gone from `get`, and a rollback brings its tag back."""
    push("app:v1", A)
    assert "app:v1 deleted (was sha256:aaaaaaaaaaaa…)" in tagstack("delete", "is", "app").out
    assert tagstack("get", "is", "app").code == 1
    assert tagstack("rollback", "app:v1").code == 0
    assert image_of(tagstack, "app:v1") == A


def test_a_name_with_a_namespace_wins(push: Push, tagstack: Cli, namespace: str) -> None:
    """NAMESPACE/NAME wins over -n, -n over the environment; options may stand before the verb."""
    push("app:v1", A)
    assert tagstack("get", "istag", f"{namespace}/app:v1", "-n", "elsewhere").code == 0
    assert tagstack("-n", "elsewhere", "get", "istag", "app:v1").code == 1
