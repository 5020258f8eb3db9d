"""From what went wrong to one clear line on stderr and an exit code. The one table of exit codes.

0 done, 1 refused or not found, 2 usage or unreadable input, 3 service unreachable; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

DONE, REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
BROKEN_PIPE = 141  # as the shell has it for SIGPIPE

UNREACHABLE_REASONS = ("ServiceUnavailable",)


class UsageError(Exception):
    """The command line, or a file it names, can't be understood."""


def complain(line: str) -> None:
    """Write one line to stderr; what DuckDB says of a statement has some more, which point into its text."""
    from tagstack.cli.output import plain

    start = "\x1b[31merror:\x1b[0m" if sys.stderr.isatty() else "error:"
    first, *rest = [part for part in line.split("\n") if part.strip()] or [""]
    print(f"{start} {plain(first)}", *map(plain, rest), sep="\n", file=sys.stderr)


def code_of(status: dict[str, Any]) -> int:
    """Return the exit code of a Status."""
    if status.get("status") == "Success":
        return DONE
    return UNREACHABLE if status.get("reason") in UNREACHABLE_REASONS else REFUSED


def lines_of(status: dict[str, Any]) -> Iterator[str]:
    """Return a failure's lines: one for each cause, or the message where it has none."""
    causes = (status.get("details") or {}).get("causes") or []
    for cause in causes:
        yield f"{cause.get('field', '')}: {cause.get('message', '')}".removeprefix(": ")
    if not causes:
        yield str(status.get("message") or status.get("reason") or "refused")


def report(error: BaseException) -> int | None:
    """Tell of an error and return its exit code; None for one that is no user's doing."""
    from tagstack.apps.settings import SettingsError
    from tagstack.domain.errors import TagstackError, Unavailable

    if isinstance(error, UsageError | SettingsError):
        complain(str(error))
        return USAGE
    if isinstance(error, Unavailable):
        complain(str(error))
        return UNREACHABLE
    if isinstance(error, TagstackError):
        status = getattr(error, "status", None)
        for line in lines_of(status) if status else [str(error)]:
            complain(line)
        return code_of(status) if status else REFUSED
    return None
