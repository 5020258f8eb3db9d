"""Small files that tell other processes something."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, body: bytes) -> None:
    """Write a small file so that a reader sees all of it or what was there before, after a power cut too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def remove(path: Path) -> None:
    """Remove a small file where that is possible; on a disk that has become read-only it stays, and does no harm."""
    with contextlib.suppress(OSError):
        path.unlink()
