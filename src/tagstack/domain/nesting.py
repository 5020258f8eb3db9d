"""How deep a JSON text may be nested: far less than a decoder bears, so that what is accepted once can be read by all.

A decoder's own limit is what is left of the stack of whoever calls it.
"""

from __future__ import annotations

import re
from itertools import accumulate

import msgspec

NESTING_MAX = 100
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what a decoder of JSON raises

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NOT_OPENING = bytes(byte for byte in range(256) if byte not in b"[{")
_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


def is_too_deep(text: bytes) -> bool:
    """Return whether lists and objects in a JSON text are nested deeper than `NESTING_MAX`."""
    if len(text.translate(None, _NOT_OPENING)) <= NESTING_MAX:
        return False
    brackets = _STRINGS.sub(b"", text).translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > NESTING_MAX
