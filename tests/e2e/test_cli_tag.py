"""`tagstack tag`: pins, aliases, followers, pull specs and deletes, as `oc tag` has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cli_service import Push, Result, digest, namespace, push, service, tagstack

__all__ = ["namespace", "push", "service", "tagstack"]  # fixtures

Cli = Callable[..., Result]
A, B = digest("a"), digest("b")


def spec_of(cli: Cli, ref: str) -> Any:
    """Return a tag's spec."""
    return cli("get", "istag", ref, "-o", "json").json["tag"]


def test_a_source_tag_is_pinned(push: Push, tagstack: Cli, namespace: str) -> None:
    """Without --alias the source is looked up now: later moves of it leave the destinations alone."""
    push("app:latest", A)
    done = tagstack("tag", "app:latest", "app:v1", "other:v1")
    assert done.code == 0 and done.out.count("moved to sha256:aaaaaaaaaaaa…") == 2
    push("app:latest", B)
    for ref in ("app:v1", "other:v1"):
        spec = spec_of(tagstack, ref)
        assert spec["from"] == {"kind": "ImageStreamImage", "namespace": namespace, "name": f"app@{A}"}


def test_an_alias_moves_with_its_source(push: Push, tagstack: Cli) -> None:
    """With --alias in one image stream the tag moves whenever its source does."""
    push("app:latest", A)
    assert tagstack("tag", "--alias", "app:latest", "app:stable").code == 0
    moved = push("app:latest", B)
    assert moved.out.count("moved to sha256:bbbbbbbbbbbb…") == 2


def test_an_alias_across_image_streams_follows(push: Push, tagstack: Cli) -> None:
    """With --alias across image streams the command asks to follow."""
    push("app:latest", A)
    assert tagstack("tag", "--alias", "app:latest", "other:stable").code == 0
    spec = spec_of(tagstack, "other:stable")
    assert spec["from"]["kind"] == "ImageStreamTag"
    assert spec["annotations"] == {"tagstack.dev/follow": "true"}


def test_an_image_is_tagged_by_a_prefix(push: Push, tagstack: Cli) -> None:
    """STREAM@IMAGE is a source too, and a unique prefix will do."""
    push("app:latest", A)
    assert tagstack("tag", "app@sha256:aaaa", "app:v1").code == 0
    assert tagstack("get", "istag", "app:v1", "-o", "json").json["entry"]["image"] == A


def test_a_pull_spec_is_recorded(tagstack: Cli) -> None:
    """A pull spec with a registry is a DockerImage, with all that an importer needs to know."""
    options = ("--scheduled", "--insecure", "--reference-policy", "local", "--import-mode", "PreserveOriginal")
    assert tagstack("tag", "quay.io/team/app:1", "app:v1", *options).code == 0
    spec = tagstack("get", "is", "app", "-o", "json").json["spec"]["tags"][0]
    assert spec["from"] == {"kind": "DockerImage", "name": "quay.io/team/app:1"}
    assert spec["importPolicy"] == {"importMode": "PreserveOriginal", "insecure": True, "scheduled": True}
    assert spec["referencePolicy"] == {"type": "Local"}


def test_a_reference_points_at_a_pull_spec(tagstack: Cli, namespace: str) -> None:
    """With --reference the pull spec is recorded without an image; the source's kind can be named."""
    done = tagstack("tag", "--source", "docker", "nginx:1.25", "app:v1", "--reference")
    assert done.out.startswith(f"{namespace}/app:v1 refers to a pull spec")


def test_tags_are_deleted(push: Push, tagstack: Cli) -> None:
    """`-d` deletes every tag named; one that is not there is refused, the others go all the same."""
    push("app:v1", A)
    push("app:v2", A)
    done = tagstack("tag", "-d", "app:v1", "app:none", "app:v2")
    assert done.code == 1 and done.out.count("deleted (was") == 2
    assert '"app:none" not found' in done.err


def test_a_source_that_points_at_nothing(push: Push, tagstack: Cli) -> None:
    """A source tag without an image can't be pinned, and the message says so."""
    push("app:v1", A)
    done = tagstack("tag", "app:none", "app:v2")
    assert done.code == 1
    assert done.err == 'error: "app:none" is not currently pointing to an image, cannot use it as the source of a tag\n'


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("app:v1",), "at least one destination"),
        (("-d",), "at least one destination"),
        (("-d", "app:v1", "--alias"), "--alias can't go with -d"),
        (("app:v1", "app"), "<stream_name>:<tag>"),
        (("--alias", "nginx", "app:v1"), "--alias needs an image stream tag"),
        (("--alias", "--reference", "app:v1", "app:v2"), "can't go together"),
        (("--scheduled", "app:v1", "app:v2"), "--scheduled needs a pull spec"),
        (("--source", "nope", "app:v1", "app:v2"), "--source must be one of"),
        (("--source", "isimage", "app:v1", "app:v2"), "<name>@<id>"),
        (("NGINX", "app:v2"), "must be lowercase"),
        (("--reference-policy", "x", "app:v1", "app:v2"), "Choose from"),
    ],
)
def test_usage(tagstack: Cli, arguments: tuple[str, ...], told: str) -> None:
    """What contradicts itself is a usage error in one line, exit 2."""
    done = tagstack("tag", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err and done.err.count("\n") == 1
