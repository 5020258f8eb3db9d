"""Draws a timeline as SVG: which image each tag held when, with rollbacks, holds and deletes marked.

A pure function from rows of `tag_history` and `holds` to text. It has no background and colours that
are told apart on a white page as on a black one.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from tagstack.application.timeline_axis import Axis, axis

TAGS_MAX = 60
ENTRIES_MAX = 2_000
LEGEND_IMAGES_MAX = 24

WIDTH, TOP, LANE, BAR, HOLD, EDGE, MARK = 1200, 66, 52, 26, 6, 20, 9
DIGIT = 7.3  # a digit of the labels, wide as it may come out
LABEL_MIN, LABEL_MAX = 60, 300
IMAGE_DIGITS = 12
INK, FAINT, HELD, BACK = "#768390", "#8c959f", "#bf8700", "#cf222e"
FIRST_HUE, GOLDEN = 0.58, 0.381966  # hues that lie far from their neighbours, however many come

_STYLE = (
    f"text{{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:{INK}}}"
    ".t{font-size:17px;font-weight:bold}.b{font-weight:bold}.i{fill:#fff}"
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Entry(msgspec.Struct, frozen=True):
    """One entry of a history stack, or one hold of a tag. Without an end it lasts."""

    tag: str
    start: datetime
    end: datetime | None
    image: str = ""
    told: str = ""
    origin: str = ""
    deleted: datetime | None = None


class Picture(msgspec.Struct, frozen=True):
    """What is drawn, and where."""

    axis: Axis
    lanes: dict[str, float]
    colours: dict[str, str]


def timeline(title: str, history: Iterable[dict[str, Any]], holds: Iterable[dict[str, Any]], now: datetime) -> str:
    """Return the timeline of one tag or of several as an SVG document.

    The newest `ENTRIES_MAX` entries of the `TAGS_MAX` tags that moved last are drawn; the picture says so.
    """
    entries = sorted(map(_entry, history), key=lambda entry: (entry.start, entry.tag))
    chosen = _newest(entries)
    tags = sorted({entry.tag for entry in chosen})
    kept = [hold for hold in map(_hold, holds) if hold.tag in tags]
    left = EDGE + min(LABEL_MAX, max(LABEL_MIN, *(int(len(tag) * DIGIT) + 14 for tag in tags or [""])))
    span = (chosen[0].start if chosen else now - timedelta(days=1), now)
    picture = Picture(
        axis(*span, left, WIDTH - EDGE),
        {tag: TOP + LANE * number for number, tag in enumerate(tags)},
        _colours(chosen),
    )
    bottom = TOP + LANE * len(tags)
    legend = list(_legend(picture.colours, bottom + 40))
    height = bottom + 40 + 22 * (2 + (min(len(picture.colours), LEGEND_IMAGES_MAX + 1) + 3) // 4)
    parts = [
        _text(EDGE, 28, title, "t"),
        _text(EDGE, 48, _summary(entries, chosen, kept, span)),
        *_grid(picture, bottom),
        *(part for entry in chosen for part in _bar(picture, entry, now)),
        *(part for hold in kept for part in _band(picture, hold, now)),
        *(part for entry in chosen for part in _marks(picture, entry)),
        *legend,
    ]
    return _svg(title, height, parts)


def _newest(entries: Sequence[Entry]) -> Sequence[Entry]:
    tags = list(dict.fromkeys(entry.tag for entry in reversed(entries)))[:TAGS_MAX]
    return [entry for entry in entries if entry.tag in tags][-ENTRIES_MAX:]


def _entry(row: dict[str, Any]) -> Entry:
    start, end = _time(row["valid_from"]), _until(row["valid_to"])
    gone = _until(row["deleted"]) if row["stack_position"] == 1 else None
    who = _because(f"{row['origin']} by {row['actor']}", row["reason"])
    told = f"{row['tag']}\n{row['image'] or row['pull_spec']}\n{_span(start, end)}\n{who}"
    return Entry(row["tag"], start, end, row["image"], told, row["origin"], gone)


def _hold(row: dict[str, Any]) -> Entry:
    start, end = _time(row["held_from"]), _until(row["held_to"])
    who = _because(f"held by {row['actor']}", row["reason"])
    told = f"{row['tag']}\n{who}\n{_span(start, end)}"
    return Entry(row["tag"], start, end, told=told)


def _time(value: str | datetime) -> datetime:
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _until(value: str | datetime | None) -> datetime | None:
    return _time(value) if value else None


def _because(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what


def _span(start: datetime, end: datetime | None) -> str:
    return f"{_minute(start)} to {_minute(end)}"


def _minute(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M") if time else "now"


def _colours(entries: Iterable[Entry]) -> dict[str, str]:
    """Return a colour for each image, in the order in which they appear."""
    images = dict.fromkeys(entry.image for entry in entries)
    found = {}
    for number, image in enumerate(images):
        red, green, blue = colorsys.hls_to_rgb((FIRST_HUE + number * GOLDEN) % 1, 0.40, 0.42)
        found[image] = f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
    return found


def _short(image: str) -> str:
    return image.rpartition(":")[2][:IMAGE_DIGITS] or "reference"


def _summary(
    entries: Sequence[Entry], chosen: Sequence[Entry], holds: Sequence[Entry], span: tuple[datetime, datetime]
) -> str:
    counted = [
        (len({entry.tag for entry in chosen}), "tag"),
        (len({entry.image for entry in chosen}), "image"),
        (len(chosen), "move"),
        (sum(entry.origin == "rollback" for entry in chosen), "rollback"),
        (len(holds), "hold"),
    ]
    told = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counted if count)
    left_out = len(entries) - len(chosen)
    more = f"; {left_out} older moves or tags are left out" if left_out else ""
    return f"{_span(*span)} UTC: {told or 'nothing'}{more}"


def _grid(picture: Picture, bottom: float) -> Iterator[str]:
    for tag, top in picture.lanes.items():
        y = top + BAR / 2
        yield f'<path d="M{picture.axis.left} {y}H{picture.axis.right}" stroke="{FAINT}" stroke-opacity=".35"/>'
        yield _text(EDGE, y + 4, _fitting(tag, int((LABEL_MAX - 14) / DIGIT)), "b")
    for time, label in picture.axis.ticks:
        x = picture.axis.x(time)
        yield f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="{FAINT}" stroke-opacity=".35" stroke-dasharray="2 4"/>'
        yield _text(x, bottom + 16, label, anchor="middle")


def _bar(picture: Picture, entry: Entry, now: datetime) -> Iterator[str]:
    start = picture.axis.x(entry.start)
    width = max(1.5, picture.axis.x(entry.end or now) - start - 1)
    y = picture.lanes[entry.tag]
    shape = f'x="{start:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="3" fill="{picture.colours[entry.image]}"'
    yield f"<rect {shape}><title>{_escaped(entry.told)}</title></rect>"
    mark = 2 * MARK + 3 if entry.origin == "rollback" else 6
    digits = int((width - mark - 4) / DIGIT)
    if digits >= 4:
        yield _text(start + mark, y + BAR / 2 + 4, _short(entry.image)[:digits], "i")


def _band(picture: Picture, hold: Entry, now: datetime) -> Iterator[str]:
    start = picture.axis.x(hold.start)
    width = max(1.5, picture.axis.x(hold.end or now) - start)
    yield _striped(start, picture.lanes[hold.tag] + BAR + 3, width, hold.told)


def _marks(picture: Picture, entry: Entry) -> Iterator[str]:
    y = picture.lanes[entry.tag]
    if entry.origin == "rollback":
        yield _returned(picture.axis.x(entry.start) + MARK, y + BAR / 2)
    if entry.deleted:
        yield _crossed(picture.axis.x(entry.deleted) + MARK, y + BAR / 2)


def _returned(x: float, y: float) -> str:
    """Return the mark of a rollback: an arrow that points back."""
    arrow = '<path d="M-4.5 -1H1.5A2.7 2.7 0 0 1 1.5 4.4H-2" fill="none" stroke="#fff" stroke-width="1.6"/>'
    head = '<path d="M-5.6 -1L-1.8 -4.2V2.2Z" fill="#fff"/>'
    return f'<g transform="translate({x:.1f} {y})"><circle r="{MARK}" fill="{BACK}"/>{arrow}{head}</g>'


def _crossed(x: float, y: float) -> str:
    """Return the mark of a delete."""
    return f'<path d="M{x - 5:.1f} {y - 5}l10 10m0 -10l-10 10" stroke="{INK}" stroke-width="2.5"/>'


def _striped(x: float, y: float, width: float, told: str) -> str:
    """Return the mark of a hold."""
    shape = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{HOLD}"'
    return f'<rect {shape} fill="url(#held)" stroke="{HELD}"><title>{_escaped(told)}</title></rect>'


def _legend(colours: dict[str, str], y: float) -> Iterator[str]:
    yield _returned(EDGE + 9, y)
    yield _text(EDGE + 26, y + 4, "rollback")
    yield _striped(EDGE + 120, y - 3, 26, "held")
    yield _text(EDGE + 154, y + 4, "held")
    yield _crossed(EDGE + 219, y)
    yield _text(EDGE + 232, y + 4, "deleted")
    column = (WIDTH - 2 * EDGE) / 4
    for number, (image, colour) in enumerate(list(colours.items())[-LEGEND_IMAGES_MAX:]):
        left, line = EDGE + column * (number % 4), y + 26 + 22 * (number // 4)
        yield f'<rect x="{left}" y="{line - 8}" width="18" height="14" rx="3" fill="{colour}"/>'
        yield _text(left + 26, line + 4, _short(image))
    if len(colours) > LEGEND_IMAGES_MAX:
        yield _text(
            EDGE, y + 26 + 22 * (LEGEND_IMAGES_MAX // 4) + 4, f"and {len(colours) - LEGEND_IMAGES_MAX} older ones"
        )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text; `kind` is a class of the style."""
    return f'<text x="{x:.1f}" y="{y}" class="{kind}" text-anchor="{anchor}">{_escaped(text)}</text>'


def _fitting(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("�", text))


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    stripes = f'<path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5" stroke="{HELD}" stroke-width="1.6"/>'
    pattern = f'<pattern id="held" width="6" height="6" patternUnits="userSpaceOnUse">{stripes}</pattern>'
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    label = quoteattr(_NOT_XML.sub("\ufffd", f"Timeline of {title}"))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={label}>'
    return "\n".join([opening, f"<style>{_STYLE}</style>", f"<defs>{pattern}</defs>", *parts, "</svg>", ""])
