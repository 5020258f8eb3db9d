"""W3C trace context: a command's `traceparent` goes on in the events it leads to.

It is no part of any decision, so it travels beside the request in a context variable of its task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar

TRACEPARENT = "traceparent"

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str] = ContextVar("traceparent", default="")


def continue_trace(headers: Mapping[str, str] | None) -> None:
    """Remember a message's `traceparent` for what this task appends; one of another form is ignored."""
    given = headers.get(TRACEPARENT, "") if headers else ""
    if given or _current.get():
        _current.set(given if _FORM.fullmatch(given) else "")


def trace_headers() -> dict[str, str]:
    """Return the header that continues the present trace, if there is one."""
    return {TRACEPARENT: current} if (current := _current.get()) else {}
