"""Times: any way of writing one becomes the one way that sorts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tagstack.domain.times import canonical, text_of


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T10:15:09Z",
        "2026-03-02T10:15:09+00:00",
        "2026-03-02 10:15:09",
        "2026-03-02T11:15:09+01:00",
        " 2026-03-02T10:15:09.000000Z ",
    ],
)
def test_a_time_is_written_in_one_way(text: str) -> None:
    """UTC with microseconds; a time without a zone is UTC."""
    assert canonical(text) == "2026-03-02T10:15:09.000000Z"


def test_a_date_is_its_midnight() -> None:
    """In UTC."""
    assert canonical("2026-03-02") == "2026-03-02T00:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "now", "10:15", "2026-13-01", "2026-03-02T10:15:09X"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With a ValueError."""
    with pytest.raises(ValueError):
        canonical(text)


def test_written_times_sort_as_they_follow_each_other() -> None:
    """Also where the microseconds are zero."""
    moments = [datetime(2026, 1, 1, 0, 0, second, micro, tzinfo=UTC) for second in (0, 9) for micro in (0, 1, 999_999)]
    assert sorted(map(text_of, moments)) == list(map(text_of, moments))
