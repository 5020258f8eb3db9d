"""Fits tables to a terminal: the widest texts are cut first, then the columns that say least are left out.

What goes to a file or a pipe is never fitted, nor is `-o wide`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import msgspec

from tagstack.cli.output import SHORT_HEX

GAP, NARROW_GAP = 3, 2
CELL_WIDTH_MAX = 120  # of a column in a table that is not fitted; a longer text stands out of it
CUT = "…"
_SHORT_DIGEST = len("sha256:") + SHORT_HEX
_REPOSITORY_WIDTH_MIN = 6


class Narrow(msgspec.Struct, frozen=True):
    """What may be done to a table that is wider than the terminal.

    `spare` are the columns that are left out, in that order, `heads` shorter heads. Of a column at least
    `least` characters stay, or as many as `floors` says. With `records` what still does not fit is printed a
    line for each value.
    """

    spare: tuple[str, ...] = ()
    heads: dict[str, str] = {}
    floors: dict[str, int] = {}
    least: int = 8
    records: bool = False


class Plan(msgspec.Struct, frozen=True):
    """Which columns are printed, under which heads, how wide.

    `fitted` is whether longer texts are cut, `records` whether every value has a line of its own instead.
    """

    columns: Sequence[int]
    heads: Sequence[str]
    widths: Sequence[int]
    fitted: bool = True
    records: bool = False

    def line(self, row: Sequence[str]) -> str:
        """Return a line of the table; `row` has a value for each of the plan's columns."""
        texts = map(cut, row, self.widths) if self.fitted else row
        gap = " " * (NARROW_GAP if self.fitted else GAP)
        return gap.join(text.ljust(width) for text, width in zip(texts, self.widths, strict=True)).rstrip()


def terminal_width() -> int:
    """Return how wide the terminal is; 0 where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def plan(heads: Sequence[str], cells: Sequence[int], narrow: Narrow | None) -> Plan:
    """Return how a table whose cells are so wide is printed; without `narrow` it is never fitted."""
    natural = [max(len(head), cell) for head, cell in zip(heads, cells, strict=True)]
    kept = list(range(len(heads)))
    width = terminal_width()
    if narrow is None or not width or sum(natural) + GAP * (len(heads) - 1) <= width:
        return Plan(kept, heads, [min(CELL_WIDTH_MAX, each) for each in natural], fitted=False)
    for left_out in (None, *narrow.spare):
        kept = [index for index in kept if heads[index] != left_out]
        shown = [narrow.heads.get(heads[index], heads[index]) for index in kept]
        wanted = [max(len(head), cells[index]) for head, index in zip(shown, kept, strict=True)]
        least = [
            min(each, max(narrow.floors.get(heads[index], narrow.least), len(head)))
            for head, index, each in zip(shown, kept, wanted, strict=True)
        ]
        room = width - NARROW_GAP * (len(kept) - 1)
        if sum(least) <= room:
            return Plan(kept, shown, _shared(wanted, least, room))
    return Plan(kept, shown, least, records=narrow.records)


def _shared(wanted: list[int], least: list[int], room: int) -> list[int]:
    """Return widths that fill the room: the widest columns give way first, none below its least."""
    widths = list(wanted)
    while (over := sum(widths) - room) > 0:
        widest = max(width for width, floor in zip(widths, least, strict=True) if width > floor)
        giving = [index for index, width in enumerate(widths) if width == widest and width > least[index]]
        below = max((width for width in widths if width < widest), default=0)
        for index in giving:
            step = max(1, min(widest - below, over // len(giving)))
            widths[index] = max(least[index], widest - step)
            over -= widest - widths[index]
            if over <= 0:
                break
    return widths


def cut(text: str, width: int) -> str:
    """Return a text that is no wider; of a pull spec its name and the beginning of its digest are kept."""
    if len(text) <= width:
        return text
    repository, at, digest = text.partition("@sha256:")
    if at and width >= _REPOSITORY_WIDTH_MIN + _SHORT_DIGEST + 2:
        shown = f"@sha256:{digest}"[: _SHORT_DIGEST + 1] + CUT
        room = width - len(shown)
        return (repository if len(repository) <= room else CUT + repository[1 - room :]) + shown
    return text.removesuffix(CUT)[: width - 1] + CUT
