"""Printing: tables, JSON, YAML, names. Colours only on a terminal; text of others never controls it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

SHORT_HEX = 12
NOTHING = "-"
_CONTROL = dict.fromkeys((*range(32), *range(0x7F, 0xA0)), "�") | {9: " ", 10: " ", 13: " "}


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
        return NOTHING
    algorithm, _, hexadecimal = image.partition(":")
    return f"{algorithm}:{hexadecimal[:SHORT_HEX]}…" if len(hexadecimal) > SHORT_HEX else image


def seconds(time: str | None) -> str:
    """Return a time of the log as people read it: to the second, in UTC."""
    if not time:
        return NOTHING
    return time[:19].replace(" ", "T") + "Z"


def cell(value: Any, null: str = NOTHING) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return plain(json.dumps(value, ensure_ascii=False))
    return plain(str(value))


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
