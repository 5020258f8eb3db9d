"""Printing: tables, JSON, YAML, names. Colours only on a terminal; text of others never controls it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

ROWS_MEASURED_MAX = 1_000  # a table's columns are as wide as its first rows need
CELL_WIDTH_MAX = 120
SHORT_HEX = 12
_NOTHING = "-"
_CONTROL = {code: "�" for code in (*range(32), *range(0x7F, 0xA0))} | {9: " ", 10: " ", 13: " "}

Row = dict[str, Any]


def plain(text: str) -> str:
    """Return text in which nothing can steer a terminal."""
    return text.translate(_CONTROL)


def on_terminal() -> bool:
    """Return whether a person reads."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def say(line: str, style: str = "") -> None:
    """Print one line for people."""
    line = plain(line)
    if style and on_terminal():
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(line, style=style), soft_wrap=True)
    else:
        sys.stdout.write(line + "\n")


def short(image: str | None) -> str:
    """Return an image's name as people read it: the first digits of a digest."""
    if not image:
        return _NOTHING
    algorithm, _, hexadecimal = image.partition(":")
    return f"{algorithm}:{hexadecimal[:SHORT_HEX]}…" if len(hexadecimal) > SHORT_HEX else image


def seconds(time: str | None) -> str:
    """Return a time of the log as people read it: to the second, in UTC."""
    if not time:
        return _NOTHING
    return time[:19].replace(" ", "T") + "Z"


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return plain(json.dumps(value, ensure_ascii=False))
    return plain(str(value))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, indent: str = "") -> int:
    """Print rows in columns as they come; return how many there were."""
    rows = iter(rows)
    first = [[cell(value) for value in row] for row, _ in zip(rows, range(ROWS_MEASURED_MAX), strict=False)]
    widths = [
        min(CELL_WIDTH_MAX, max(len(name), *(len(row[index]) for row in first), 0))
        for index, name in enumerate(columns)
    ]
    say(indent + _padded(columns, widths), style="bold")
    count = 0
    for row in _both(first, rows):
        sys.stdout.write(indent + _padded(row, widths) + "\n")
        count += 1
    return count


def _both(first: list[list[str]], rest: Iterator[Sequence[Any]]) -> Iterator[list[str]]:
    yield from first
    for row in rest:
        yield [cell(value) for value in row]


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_yaml(value: Any) -> None:
    """Print one YAML document."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    yaml.dump(value, sys.stdout, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


def print_object(value: Any, form: str) -> None:
    """Print one document as JSON or YAML."""
    if form == "yaml":
        print_yaml(value)
    else:
        print_json(value)


def print_json_rows(rows: Iterable[Row]) -> None:
    """Print rows as one JSON list, each as soon as it comes."""
    start = "["
    for row in rows:
        sys.stdout.write(f"{start}\n  {json.dumps(row, ensure_ascii=False)}")
        start = ","
    sys.stdout.write("[]\n" if start == "[" else "\n]\n")


def print_rows(rows: list[Row], form: str, columns: Sequence[str], name: str) -> None:
    """Print the rows of a relation: all columns as JSON or YAML, `columns` as a table.

    `name` is a format string over a row.
    """
    if form in ("json", "yaml"):
        print_object(rows, form)
    elif form == "name":
        for row in rows:
            sys.stdout.write(plain(name.format_map(row)) + "\n")
    else:
        shown = list(rows[0]) if form == "wide" and rows else list(columns)
        table([column.upper().replace("_", " ") for column in shown], ([_shown(row, c) for c in shown] for row in rows))


def _shown(row: Row, column: str) -> Any:
    value = row.get(column)
    if column in ("image", "previous_image"):
        return short(value)
    if column in ("time", "valid_from", "valid_to", "since", "held_since", "deleted") and value:
        return seconds(str(value))
    return value if value != "" else _NOTHING
