"""The newest snapshot's file: a name that is switched, so it is resolved before it is opened."""

from __future__ import annotations

from pathlib import Path

NAME = "tagstack.duckdb"

Stamp = tuple[str, int, int]


def stamp(path: Path) -> Stamp | None:
    """Return what tells the newest snapshot from any other: real path, inode and time; None: there is none."""
    try:
        real = path.resolve(strict=True)
        known = real.stat()
    except FileNotFoundError:
        return None
    return str(real), known.st_ino, known.st_mtime_ns
