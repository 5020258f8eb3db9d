"""Figures: a value measured several times beside its baseline, each time one right after the other.

Other programs share the machine, so a single figure says little and a ratio of neighbours more: what
counts is the median of the ratios.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import median

import msgspec

Measure = Callable[[], Awaitable[float]]


class Row(msgspec.Struct, frozen=True):
    """One line of the result. The aim is for the ratio, or for the value where there is no baseline."""

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    aim: float | None
    better: str

    @property
    def reached(self) -> bool | None:
        """Return whether the aim is reached; None where there is none."""
        found = self.value if self.ratio is None else self.ratio
        if self.aim is None:
            return None
        return found >= self.aim if self.better == "higher" else found <= self.aim


class Wanted(msgspec.Struct, frozen=True):
    """What a figure is called and what it should be."""

    name: str
    unit: str
    aim: float | None
    better: str = "higher"

    def row(self, pairs: list[tuple[float, float]]) -> Row:
        """Return the line for values and their baselines."""
        value, baseline = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(mine / theirs for mine, theirs in pairs)
        return Row(self.name, _short(value), self.unit, _short(baseline), _short(ratio), self.aim, self.better)

    def alone(self, values: list[float]) -> Row:
        """Return the line for values that have no baseline."""
        return Row(self.name, _short(median(values)), self.unit, None, None, self.aim, self.better)


async def side_by_side(value: Measure, baseline: Measure, times: int) -> list[tuple[float, float]]:
    """Return values and baselines, measured in turns; who goes first changes."""
    mine, theirs = await in_turns([value, baseline], times)
    return list(zip(mine, theirs, strict=True))


async def in_turns(measures: Sequence[Measure], times: int) -> list[list[float]]:
    """Return what each measure gave, taken in turns; every other time the last one goes first."""
    found: list[list[float]] = [[] for _ in measures]
    for number in range(times):
        turn = list(zip(measures, found, strict=True))
        for measure, values in reversed(turn) if number % 2 else turn:
            values.append(await measure())
    return found


def _short(value: float) -> float:
    return float(f"{value:.4g}")
