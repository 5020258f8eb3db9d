"""Names and times as typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tagstack.cli import references
from tagstack.cli.diff import Side, side
from tagstack.cli.failures import UsageError
from tagstack.cli.watch import split_pattern
from tagstack.domain.names import ImageStreamName, TagName


def test_a_name_takes_the_namespace_it_lacks() -> None:
    """A namespace in the name wins over the default one."""
    app = ImageStreamName("own", "app")
    assert references.tag_name("app:v1", "own") == TagName(app, "v1")
    assert references.tag_name("own/app:v1", "other") == TagName(app, "v1")
    assert references.image_stream_name("app", "own") == app


@pytest.mark.parametrize("text", ["app", "app:", ":v1", "a/b/c:v1", "/app:v1", "own/", "app:v1:2", "app@sha256:ab", ""])
def test_what_is_no_tag_is_refused(text: str) -> None:
    """A tag is [NAMESPACE/]STREAM:TAG and nothing else."""
    with pytest.raises(UsageError):
        references.tag_name(text, "own")


def test_times() -> None:
    """A time is RFC 3339, a date in UTC, `now`, or an age."""
    assert references.moment("2026-01-31") == "2026-01-31T00:00:00.000000Z"
    assert references.moment("2026-01-31T02:00:00+02:00") == "2026-01-31T00:00:00.000000Z"
    hour_ago = datetime.fromisoformat(references.moment("1h"))
    assert timedelta(minutes=59) < datetime.now(UTC) - hour_ago < timedelta(minutes=61)
    for text in ("", "yesterday", "2026", "1y", "99999999999999w"):
        with pytest.raises(UsageError):
            references.moment(text)


def test_sides_of_a_comparison() -> None:
    """A side is a tag, an entry, an image, an image stream or a project, at a time."""
    noon, time = "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"
    assert side(f"a/app:v1@{noon}", "own") == Side("a", "app:v1", time=time)
    assert side("app:v1@#2", "own") == side("app:v1@2", "own") == Side("own", "app:v1", stack_position=2)
    assert side("app@sha256:ab", "own") == Side("own", "app", image="sha256:ab")
    assert side("app@4746", "own") == Side("own", "app", image="4746")
    assert side(f"app@{noon}", "own") == Side("own", "app", time=time)
    assert side(f"a/@{noon}", "own") == Side("a", "", time=time)
    assert side("app:v1", "own").of_tags is False and side("app", "own").of_tags is True
    with pytest.raises(UsageError):
        side("app@nonsense", "own")


def test_watch_patterns() -> None:
    """A pattern without a tag means every tag, without a namespace the default one, and none everything.

    One that nothing can be called is refused: nobody would see why nothing ever comes.
    """
    assert split_pattern("test/*", "") == ("test", "*", "*")
    assert split_pattern("app:v1.*", "") == ("default", "app", "v1.*")
    assert split_pattern(None, "") == split_pattern("*", "") == ("*", "*", "*")
    assert split_pattern(None, "own") == split_pattern("*", "own") == ("own", "*", "*")
    for text in ("a/b/c", "app:", "a:b:c", "", "bad pattern", "Test/app", "test/app:-x"):
        with pytest.raises(UsageError):
            split_pattern(text, "")
