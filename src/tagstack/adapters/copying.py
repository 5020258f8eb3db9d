"""Copies a file in parts, so that a copy of gigabytes can be stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

COPY_BYTES = 8 << 20


def copy_file(source: int, target: int, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Copy all of a descriptor's file to another one's; return whether that came to its end before a stop."""
    size, offset = os.fstat(source).st_size, 0
    while offset < size:
        if stopping():
            return False
        if sys.platform == "linux":  # shares blocks where the file system can
            copied = os.copy_file_range(source, target, min(size - offset, COPY_BYTES), offset)
        else:
            copied = os.write(target, os.pread(source, COPY_BYTES, offset))
        offset += copied
    return True
