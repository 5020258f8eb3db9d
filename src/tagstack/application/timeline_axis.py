"""The axis of a timeline: from times to places, with ticks at full hours, days, weeks or months."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

TICKS_MAX = 10

# months have no length of their own
_STEPS = [
    *((timedelta(seconds=number), "%H:%M:%S") for number in (1, 5, 15, 30)),
    *((timedelta(minutes=number), "%H:%M") for number in (1, 5, 15, 30)),
    *((timedelta(hours=number), "%m-%d %H:%M") for number in (1, 3, 6, 12)),
    *((timedelta(days=number), "%Y-%m-%d") for number in (1, 2, 7, 14)),
]
_MONTHS = (1, 3, 6, 12, 24, 60, 120)


class Axis(msgspec.Struct, frozen=True):
    """Times from `start` to `end` lie between `left` and `right`."""

    start: datetime
    end: datetime
    left: float
    right: float
    ticks: list[tuple[datetime, str]]

    def x(self, time: datetime) -> float:
        """Return where a time lies; one outside lies at the edge."""
        part = (time - self.start) / (self.end - self.start)
        return self.left + (self.right - self.left) * min(1.0, max(0.0, part))


def axis(start: datetime, end: datetime, left: float, right: float) -> Axis:
    """Return the axis of a span of time, which is a second long at the least."""
    end = max(end, start + timedelta(seconds=1))
    return Axis(start, end, left, right, _ticks(start, end))


def _ticks(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    for step, form in _STEPS:
        if (end - start) / step <= TICKS_MAX:
            return [(time, time.strftime(form)) for time in _every(step, start, end)]
    for months in _MONTHS:
        found = list(_every_months(months, start, end))
        if len(found) <= TICKS_MAX:
            return [(time, time.strftime("%Y-%m")) for time in found]
    return []


def _every(step: timedelta, start: datetime, end: datetime) -> Iterator[datetime]:
    monday = datetime(1970, 1, 5, tzinfo=start.tzinfo)
    time = start - (start - monday) % step
    while time <= end:
        if time >= start:
            yield time
        time += step


def _every_months(months: int, start: datetime, end: datetime) -> Iterator[datetime]:
    month = start.year * 12 + start.month - 1
    month -= month % months
    while (time := datetime(month // 12, month % 12 + 1, 1, tzinfo=start.tzinfo)) <= end:
        if time >= start:
            yield time
        month += months
