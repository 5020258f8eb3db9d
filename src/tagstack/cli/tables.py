"""Rows as tables, JSON lists, YAML lists or names, printed as they come: a million rows need no memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tagstack.cli.output import NOTHING, cell, plain, print_yaml, say, seconds, short

ROWS_MEASURED_MAX = 1_000  # a table's columns are as wide as its first rows need
CELL_WIDTH_MAX = 120

Row = dict[str, Any]

_IMAGES = ("image", "previous_image", "bad_image")
_TIMES = ("time", "valid_from", "valid_to", "since", "held_since", "deleted")


class Printer(Protocol):
    """Takes rows one by one."""

    def add(self, row: Row) -> None:
        """Print a row, now or soon."""
        ...

    def end(self) -> None:
        """Print what is left."""
        ...


class Table:
    """A table whose columns are as wide as the first rows need."""

    def __init__(self, columns: Sequence[str], *, null: str = NOTHING) -> None:
        self._columns = columns
        self._null = null
        self._first: list[list[str]] | None = []
        self._widths: list[int] = []
        self.count = 0

    def add(self, values: Iterable[Any]) -> None:
        """Print one row; the first ones wait until the widths are known."""
        row = [cell(value, self._null) for value in values]
        self.count += 1
        if self._first is None:
            self._write(row)
            return
        self._first.append(row)
        if len(self._first) >= ROWS_MEASURED_MAX:
            self._measured()

    def end(self) -> None:
        """Print what still waits."""
        if self._first is not None:
            self._measured()

    def _measured(self) -> None:
        first, self._first = self._first or [], None
        columns = zip(self._columns, *first, strict=True)
        self._widths = [min(CELL_WIDTH_MAX, max(map(len, values))) for values in columns]
        say(self._line(self._columns), style="bold")
        for row in first:
            self._write(row)

    def _write(self, row: Sequence[str]) -> None:
        sys.stdout.write(self._line(row) + "\n")

    def _line(self, row: Sequence[str]) -> str:
        cells = (value.ljust(width) for value, width in zip(row, self._widths, strict=True))
        return "   ".join(cells).rstrip()


def table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table at once."""
    printer = Table(columns)
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

    def __init__(self, columns: Sequence[str], *, wide: bool) -> None:
        self._columns, self._wide = columns, wide
        self._table = Table([column.upper().replace("_", " ") for column in columns])

    def add(self, row: Row) -> None:
        self._table.add(_shown(row, column, wide=self._wide) for column in self._columns)

    def end(self) -> None:
        self._table.end()


class Relation:
    """How the rows of a relation are printed. `columns` make the table, `wide` the wide one.

    `name` is a format string over a row.
    """

    def __init__(self, columns: Sequence[str], wide: Sequence[str], name: str) -> None:
        self._columns, self._wide, self._name = columns, wide, name

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
        return _TableRows(self._wide if wide else self._columns, wide=wide)

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
