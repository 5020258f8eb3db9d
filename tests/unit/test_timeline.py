"""Timelines: what is drawn of which rows, read back from the SVG as a browser would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from tagstack.application import timeline
from tagstack.application.timeline_axis import TICKS_MAX, axis

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = START + timedelta(days=30)
A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
SVG = "{http://www.w3.org/2000/svg}"


def entry(day: float, until: float | None, image: str = A, tag: str = "latest", **more: Any) -> dict[str, Any]:
    """Return a row of `tag_history` that begins and ends on some days."""
    end = None if until is None else (START + timedelta(days=until)).isoformat()
    row = {"tag": tag, "image": image, "valid_from": (START + timedelta(days=day)).isoformat(), "valid_to": end}
    told = {"origin": "mapping", "actor": "ann", "reason": "", "pull_spec": "r/a", "deleted": None, "stack_position": 1}
    return row | told | more


def hold(day: float, until: float | None, tag: str = "latest") -> dict[str, Any]:
    """Return a row of `holds`."""
    end = None if until is None else START + timedelta(days=until)
    told = {"actor": "bob", "reason": "freeze"}
    return {"tag": tag, "held_from": START + timedelta(days=day), "held_to": end} | told


def drawn(*history: dict[str, Any], holds: tuple[dict[str, Any], ...] = (), title: str = "t") -> ElementTree.Element:
    """Return the parsed picture of some rows."""
    return ElementTree.fromstring(timeline.timeline(title, history, holds, NOW))


def told(picture: ElementTree.Element) -> list[str]:
    """Return what the shapes say when one points at them."""
    return [title.text or "" for shape in picture.iter(f"{SVG}rect") for title in shape.iter(f"{SVG}title")]


def texts(picture: ElementTree.Element) -> list[str]:
    """Return every text that is written."""
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def marks(picture: ElementTree.Element, tag: str) -> int:
    """Return how many marks of a kind there are beside the one in the legend."""
    shapes = {"rollback": "circle", "deleted": "path"}[tag]
    found = [shape for shape in picture.iter(SVG + shapes) if shape.get("stroke-width") in (None, "2.5")]
    return len([shape for shape in found if shapes == "circle" or "m0 -10l" in (shape.get("d") or "")]) - 1


def bars(picture: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the shapes of entries."""
    return [shape for shape in picture.iter(f"{SVG}rect") if shape.get("height") == "26"]


def test_every_entry_is_a_bar_from_its_beginning_to_its_end() -> None:
    """Bars lie in the order of time, the one that still holds reaches to the right edge."""
    first, second = bars(drawn(entry(0, 10), entry(10, None, B)))
    assert float(second.get("x", 0)) == pytest.approx(
        float(first.get("x", 0)) + float(first.get("width", 0)) + 1, abs=0.2
    )
    assert float(second.get("x", 0)) + float(second.get("width", 0)) == pytest.approx(1179, abs=0.2)
    assert float(second.get("width", 0)) == pytest.approx(2 * float(first.get("width", 0)), abs=2)


def test_an_image_has_one_colour_wherever_it_is_held() -> None:
    """The same image is seen to be the same across tags and times; another one differs."""
    picture = drawn(entry(0, 10), entry(10, 20, B), entry(20, None), entry(5, None, tag="stable"))
    first, other, again, stable = (bar.get("fill") for bar in sorted(bars(picture), key=lambda bar: told_of(bar)))
    assert first == again == stable != other


def told_of(bar: ElementTree.Element) -> str:
    """Return what a bar says, its tag first and then when it began."""
    (title,) = bar.iter(f"{SVG}title")
    tag, _, span, _ = (title.text or "").split("\n")
    return f"{tag} {span}"


def test_a_bar_says_who_and_why() -> None:
    """Whoever points at a bar reads tag, image, from when to when, who and why."""
    assert told(drawn(entry(0, 10, reason="fix <b>", origin="promote")))[0].split("\n") == [
        "latest",
        A,
        "2026-07-01 12:00 to 2026-07-11 12:00",
        "promote by ann: fix <b>",
    ]


def test_rollbacks_holds_and_deletes_are_marked() -> None:
    """Each has a mark of its own, which the legend explains."""
    rows = [entry(0, 5, stack_position=2), entry(5, 9, B, origin="rollback", deleted=START + timedelta(days=9))]
    picture = drawn(*rows, holds=(hold(5, 9),))
    assert (marks(picture, "rollback"), marks(picture, "deleted")) == (1, 1)
    assert "latest\nheld by bob: freeze\n2026-07-06 12:00 to 2026-07-10 12:00" in told(picture)
    assert {"rollback", "held", "deleted"} <= set(texts(picture))
    assert marks(drawn(entry(0, None)), "rollback") == 0


def test_a_hold_of_a_tag_that_is_not_drawn_is_left_out() -> None:
    """Holds of other tags have no lane."""
    assert not any("held by" in text for text in told(drawn(entry(0, None), holds=(hold(1, 2, tag="other"),))))


def test_bars_too_narrow_for_their_image_carry_no_text() -> None:
    """What would not fit is left to the legend, which names every image."""
    picture = drawn(entry(0, 0.1), entry(0.1, None, B))
    assert texts(picture).count("a" * 12) == 1
    assert texts(picture).count("b" * 12) == 2


@pytest.mark.parametrize("title", ["a<b>&\"'", "bell\x07", "lone \ud800 surrogate"])
def test_text_of_others_is_only_text(title: str) -> None:
    """Names and reasons can neither break the document nor add to it."""
    picture = drawn(entry(0, None, reason=title), title=title)
    assert len(bars(picture)) == 1


def test_nothing_is_a_picture_too() -> None:
    """Without a row there is an empty picture, not an error."""
    assert "nothing" in texts(drawn())[1]


def test_an_entry_that_lasted_no_time_can_be_seen() -> None:
    """Two moves within a moment leave bars that have a width."""
    assert all(float(bar.get("width", 0)) >= 1.5 for bar in bars(drawn(entry(30, 30), entry(30, None, B))))


def test_too_much_is_cut_to_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bounds the newest entries of the tags that moved last are drawn, and the picture says so."""
    monkeypatch.setattr(timeline, "TAGS_MAX", 2)
    monkeypatch.setattr(timeline, "ENTRIES_MAX", 3)
    rows = [entry(day, day + 1, tag=tag) for day in range(3) for tag in ("v1", "v2")] + [entry(-1, None, tag="old")]
    picture = drawn(*rows)
    assert len(bars(picture)) == 3
    assert "4 older moves or tags are left out" in texts(picture)[1]


@pytest.mark.parametrize(
    ("span", "label"),
    [
        (timedelta(0), "12:00:00"),
        (timedelta(minutes=8), "12:01"),
        (timedelta(days=1), "07-01 12:00"),
        (timedelta(days=60), "2026-07-06"),
        (timedelta(days=400), "2026-07"),
        (timedelta(days=20_000), "2030-01"),
    ],
    ids=str,
)
def test_ticks_are_round_and_few(span: timedelta, label: str) -> None:
    """Whatever the span, there are some ticks, not more than fit, at round times within it."""
    found = axis(START, START + span, 0, 100)
    assert 1 <= len(found.ticks) <= TICKS_MAX + 1
    assert all(found.start <= time <= found.end for time, _ in found.ticks)
    assert label in [label for _, label in found.ticks] + [START.strftime("%Y-%m")]
