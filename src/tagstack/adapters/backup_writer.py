"""Writes a backup's segments: the open one grows, a full one is followed by the next.

A segment that grows is a new file, the old bytes and one more gzip member: the old one stays valid
until the manifest names the new one.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

import msgspec

from tagstack.adapters.backup_files import (
    BackupError,
    BackupFolder,
    Manifest,
    Segment,
    line_of,
    open_new,
    replace_on_disk,
)
from tagstack.application.records import Reached, Record
from tagstack.domain.times import text_of

SEGMENT_MESSAGES_MAX = 100_000
SEGMENT_BYTES_MAX = 64 * 1024 * 1024  # compressed
GZIP_LEVEL = 3  # twice as fast as the usual 6, a tenth larger


class BackupWriter:
    """Appends messages to a backup. `manifest` is what is safely on disk; what is not finished is dropped at exit."""

    def __init__(self, folder: BackupFolder, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._open: _OpenSegment | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()

    def add(self, records: Sequence[Record]) -> None:
        """Append whole batches of messages. Raises BackupError where the disk does not take them."""
        try:
            for record in records:
                if self._open is None:
                    self._open = self._begin(record.position)
                self._open.write(record)
                if self._open.is_full and not record.is_inside_batch:
                    self.finish()
        except OSError as error:
            raise _unwritable(self.folder.path, error) from error

    def finish(self) -> Manifest:
        """Put what was added on disk and into the manifest, and return it."""
        if self._open is None:
            return self.manifest
        try:
            segment, reached = self._open.finish()
            kept = [known for known in self.manifest.segments if known.first != segment.first]
            now = text_of(datetime.now(UTC))
            changed = msgspec.structs.replace(self.manifest, segments=[*kept, segment], reached=reached, time=now)
            self.folder.write_manifest(changed)
        except OSError as error:
            raise _unwritable(self.folder.path, error) from error
        self.manifest, self._open = changed, None
        return changed

    def _begin(self, position: int) -> _OpenSegment:
        last = self.manifest.segments[-1] if self.manifest.segments else None
        if last is None or last.messages >= SEGMENT_MESSAGES_MAX or last.bytes >= SEGMENT_BYTES_MAX:
            return _OpenSegment(self.folder.path, position)
        return _OpenSegment(self.folder.path, last.first, last)


class _OpenSegment:
    """A segment being written, at first under a name that no manifest has."""

    def __init__(self, folder: Path, first: int, grown: Segment | None = None) -> None:
        self._folder = folder
        self._first = first
        self._part = folder / f"log-{first:012d}-{0:012d}.jsonl.gz.part"
        if grown is not None:
            _check(folder / grown.file, grown)
        self._file: IO[bytes] = open_new(self._part)
        self._messages = 0
        self._last: Record | None = None
        if grown is not None:
            try:
                self._copy(grown)
            except OSError:
                self._file.close()
                raise
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=self._file, mtime=0)

    @property
    def is_full(self) -> bool:
        """Return whether the next message belongs to another segment."""
        return self._messages >= SEGMENT_MESSAGES_MAX or self._file.tell() >= SEGMENT_BYTES_MAX

    def write(self, record: Record) -> None:
        """Append one message."""
        self._gzip.write(line_of(record))
        self._messages += 1
        self._last = record

    def finish(self) -> tuple[Segment, Reached]:
        """Put the segment on disk and return its entry in the manifest, and how far it reaches."""
        assert self._last is not None, "a segment is begun for a message"
        self._gzip.close()
        size = self._file.tell()
        self._file.close()
        with self._part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"log-{self._first:012d}-{self._last.position:012d}.jsonl.gz"
        replace_on_disk(self._part, self._folder / name)
        segment = Segment(name, self._first, self._last.position, self._messages, size, sha256)
        return segment, Reached.by(self._last)

    def close(self) -> None:
        """Write no more; what is buffered is of no use."""
        with contextlib.suppress(OSError):  # as on a full disk
            self._gzip.close()
        with contextlib.suppress(OSError):
            self._file.close()

    def _copy(self, grown: Segment) -> None:
        with (self._folder / grown.file).open("rb") as old:
            shutil.copyfileobj(old, self._file)
        self._messages = grown.messages


def _check(path: Path, segment: Segment) -> None:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != segment.sha256:
        raise BackupError(f"{path}: SHA-256 is {sha256}, the manifest says {segment.sha256}")


def _unwritable(path: Path, error: OSError) -> BackupError:
    return BackupError(f"{path} can't be written: {error.strerror or error}")
