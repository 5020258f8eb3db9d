"""Rows as tables, JSON lists, YAML lists or names, printed as they come: a million rows need no memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tagstack.cli.fitting import Narrow, Plan, plan
from tagstack.cli.output import NOTHING, cell, plain, print_yaml, say, seconds, short

ROWS_MEASURED_MAX = 1_000  # a table's columns are as wide as its first rows need

Row = dict[str, Any]

_IMAGES = ("image", "previous_image", "bad_image")
_TIMES = ("time", "valid_from", "valid_to", "since", "held_since", "deleted")

_SHORT_HEADS = {"STACK POSITION": "#"}  # as in `REF@#2`
_IMAGE_WIDTH_MIN, _TIME_WIDTH = 15, 20  # 7 digits of a digest are enough to tell images apart


class Printer(Protocol):
    """Takes rows one by one."""

    def add(self, row: Row) -> None:
        """Print a row, now or soon."""
        ...

    def end(self) -> None:
        """Print what is left."""
        ...


class Table:
    """A table whose columns are as wide as the first rows need, or as a terminal allows where `narrow` is given."""

    def __init__(self, columns: Sequence[str], *, null: str = NOTHING, narrow: Narrow | None = None) -> None:
        self._columns = columns
        self._null = null
        self._narrow = narrow
        self._first: list[list[str]] = []
        self._plan: Plan | None = None  # not known before the first rows are
        self.count = 0

    def add(self, values: Iterable[Any]) -> None:
        """Print one row; the first ones wait until the widths are known."""
        row = [cell(value, self._null) for value in values]
        self.count += 1
        if self._plan is not None:
            self._write(self._plan, row, self.count)
            return
        self._first.append(row)
        if len(self._first) >= ROWS_MEASURED_MAX:
            self._measured()

    def end(self) -> None:
        """Print what still waits."""
        if self._plan is None:
            self._measured()

    def _measured(self) -> None:
        cells = [max(map(len, values)) for values in zip(*self._first, strict=True)] or [0] * len(self._columns)
        self._plan = plan(self._columns, cells, self._narrow)
        if not self._plan.records:
            say(self._plan.line(self._plan.heads), style="bold")
        for number, row in enumerate(self._first, 1):
            self._write(self._plan, row, number)
        self._first.clear()

    def _write(self, chosen: Plan, row: Sequence[str], number: int) -> None:
        if chosen.records:
            say(f"-- {number}", style="dim")
            width = max(map(len, self._columns))
            for head, value in zip(self._columns, row, strict=True):
                sys.stdout.write(f"{head.ljust(width)}   {value}".rstrip() + "\n")
            return
        sys.stdout.write(chosen.line([row[index] for index in chosen.columns]) + "\n")


def table(columns: Sequence[str], rows: Iterable[Iterable[Any]], *, wide: bool = False) -> None:
    """Print a table at once, fitted to a terminal unless it is to be wide."""
    printer = Table(columns, narrow=None if wide else Narrow())
    for row in rows:
        printer.add(row)
    printer.end()


class JsonRows:
    """One JSON list, a row a line."""

    def __init__(self) -> None:
        self._start = "["

    def add(self, row: Any) -> None:
        """Print a row."""
        sys.stdout.write(f"{self._start}\n  {json.dumps(row, ensure_ascii=False)}")
        self._start = ","

    def end(self) -> None:
        """Close the list."""
        sys.stdout.write("[]\n" if self._start == "[" else "\n]\n")


class _YamlRows:
    def __init__(self) -> None:
        self._count = 0

    def add(self, row: Row) -> None:
        self._count += 1
        print_yaml([row])

    def end(self) -> None:
        if self._count == 0:
            print_yaml([])


class _NameRows:
    def __init__(self, name: str) -> None:
        self._name = name

    def add(self, row: Row) -> None:
        sys.stdout.write(plain(self._name.format_map(row)) + "\n")

    def end(self) -> None:
        return


class _TableRows:
    """A table of some columns, worded for people."""

    def __init__(self, columns: Sequence[str], spare: Sequence[str], *, wide: bool) -> None:
        self._columns, self._wide = columns, wide
        floors = dict.fromkeys(map(_head, _IMAGES), _IMAGE_WIDTH_MIN) | dict.fromkeys(map(_head, _TIMES), _TIME_WIDTH)
        narrow = Narrow(tuple(map(_head, spare)), _SHORT_HEADS, floors)
        self._table = Table([*map(_head, columns)], narrow=None if wide else narrow)

    def add(self, row: Row) -> None:
        self._table.add(_shown(row, column, wide=self._wide) for column in self._columns)

    def end(self) -> None:
        self._table.end()


def _head(column: str) -> str:
    return column.upper().replace("_", " ")


class Relation:
    """How the rows of a relation are printed. `columns` make the table, `wide` the wide one.

    `name` is a format string over a row; `spare` are the columns that a narrow terminal does not show.
    """

    def __init__(self, columns: Sequence[str], wide: Sequence[str], name: str, spare: Sequence[str] = ()) -> None:
        self._columns, self._wide, self._name, self._spare = columns, wide, name, spare

    def printer(self, form: str) -> Printer:
        """Return what prints rows in a format; JSON and YAML have every column."""
        match form:
            case "json":
                return JsonRows()
            case "yaml":
                return _YamlRows()
            case "name":
                return _NameRows(self._name)
        wide = form == "wide"
        return _TableRows(self._wide if wide else self._columns, self._spare, wide=wide)

    def print(self, rows: Iterable[Row], form: str) -> None:
        """Print rows at once."""
        printer = self.printer(form)
        for row in rows:
            printer.add(row)
        printer.end()


def _shown(row: Row, column: str, *, wide: bool) -> Any:
    value = row.get(column)
    if column in _IMAGES and not wide:
        return short(value)
    if column in _TIMES and value:
        return seconds(str(value))
    return NOTHING if value == "" else value
