"""Where a tag's image is pulled from, how its line is printed, and which registries are allowed."""

from __future__ import annotations

from typing import Any

import pytest

from tagstack.domain import pull_spec
from tagstack.domain.allow_list import AllowList
from tagstack.domain.printing import tag_row
from tagstack.domain.resolution import Repositories, ResolutionError, Resolved, resolve_latest, resolve_pull_spec
from tests.examples import Story, alias, digest, mapping, tag_of
from tests.examples import pull_spec as pulled

RUBY = {"kind": "DockerImage", "name": "quay.io/a/ruby:3"}
INSIDE = Repositories("registry:5000/test/app", "apps.example.com/test/app")


def test_a_tag_is_pulled_by_its_heads_pull_spec() -> None:
    """Which is known to be the newest while nothing newer is wished."""
    state = Story(mapping("latest", "a")).state()
    assert resolve_pull_spec(state, "", INSIDE) == Resolved(pulled(digest("a")), has_status=True)
    assert resolve_latest(state, "", INSIDE.internal) == pulled(digest("a"))


def test_a_newer_wish_is_told_or_insisted_on() -> None:
    """The last good image, unless only the newest will do: then what the wish names, if it names one."""
    story = Story(mapping("a", "1"), mapping("b", "2"), tag_of("a", RUBY), tag_of("b", alias("gone")))
    state = story.state()
    assert resolve_pull_spec(state, "a", INSIDE) == Resolved(pulled(digest("1")), has_newer=True, has_status=True)
    assert resolve_pull_spec(state, "a", INSIDE, require_latest=True) == Resolved(RUBY["name"])
    with pytest.raises(ResolutionError, match="cannot be determined yet"):
        resolve_pull_spec(state, "b", INSIDE, require_latest=True)


def test_a_tag_of_which_nothing_is_known_is_guessed() -> None:
    """Its name in the repository, the public one for those outside."""
    state = Story(mapping("a", "1")).state()
    assert resolve_pull_spec(state, "x", INSIDE).pull_spec == "registry:5000/test/app:x"
    assert resolve_pull_spec(state, "x", INSIDE, external=True).pull_spec == "apps.example.com/test/app:x"
    with pytest.raises(ResolutionError, match="no image repository"):
        resolve_pull_spec(state, "x", Repositories())


def spec(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """Return the spec of an ImageTag."""
    return {"from": {"kind": kind, "name": name}, "generation": 2} | more


@pytest.mark.parametrize(
    ("image_tag", "row"),
    [
        ({"spec": spec("DockerImage", "a/b", importPolicy={"scheduled": True})}, ("Scheduled", "a/b", None)),
        ({"spec": spec("ImageStreamTag", "other")}, ("Track", "istag/other", None)),
        ({"spec": spec("ImageStreamImage", "no-mark")}, ("Tag", "InvalidRefName", None)),
        ({"status": {"items": [{"dockerImageReference": "a/b:c"}]}}, ("Push", "a/b:c", 1)),
        ({"spec": {"annotations": {}}, "status": {"items": [{"image": "i"}]}}, ("Push", "image/i", 1)),
    ],
)
def test_a_tags_line_says_what_kind_of_tag_it_is(image_tag: dict[str, Any], row: tuple[Any, ...]) -> None:
    """Scheduled, tracking, wrong, or just pushed."""
    found = tag_row(image_tag)
    assert (found.type, found.image, found.history) == row


def test_a_failed_import_is_on_the_tags_line() -> None:
    """With its reason, and the time of it where that is newer."""
    failed = {"type": "ImportSuccess", "status": "False", "reason": "NotFound", "lastTransitionTime": "2026-01-02"}
    status = {"items": [{"image": "i", "generation": 2, "created": "2026-01-01"}], "conditions": [failed]}
    found = tag_row({"metadata": {"name": "app:a"}, "spec": spec("DockerImage", "a/b"), "status": status})
    assert (found.name, found.image, found.updated) == ("app:a", "ImportFailed (NotFound)", "2026-01-02")


@pytest.mark.parametrize(
    ("host", "transport", "allowed"),
    [
        ("quay.io", "secure", True),
        ("quay.io:5000", "secure", False),
        ("quay.io", "insecure", False),
        ("quay.io", "any", True),
        ("a.example.com:8443", "secure", True),
        ("example.com:8443", "secure", False),
        ("registry-1.docker.io", "secure", True),
    ],
)
def test_a_registry_is_allowed_by_host_and_port(host: str, transport: str, allowed: bool) -> None:
    """The port of an entry is the transport's default unless it says another."""
    listed = AllowList(["quay.io", "*.example.com:*", "docker.io"])
    assert (listed.refusal(host, transport) is None) is allowed


def test_what_was_allowed_before_stays_allowed() -> None:
    """By its repository, whatever the tag."""
    listed = AllowList(["quay.io"], repositories=["old.example.com/a/b:1"])
    assert listed.refusal_of(pull_spec.parse("old.example.com/a/b:2")) is None
    assert listed.refusal_of(pull_spec.parse("old.example.com/a/c:1")) is not None
    assert listed.refusal_of(pull_spec.parse("ruby")) is not None
