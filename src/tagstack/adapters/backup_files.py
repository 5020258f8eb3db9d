"""A backup folder: segments of JSON lines, gzipped, and a manifest that names each with its SHA-256.

Only what the manifest names is part of the backup. It is replaced in one step after the files it
names are on disk, so a backup that is killed leaves the one before it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tagstack.application.records import Reached, Record
from tagstack.domain.errors import TagstackError
from tagstack.domain.nesting import UNREADABLE

FORMAT = "tagstack-backup"
VERSION = 1
MANIFEST = "manifest.json"
LINE_BYTES_MAX = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"log-\d{12}-\d{12}\.jsonl\.gz(\.part)?")


class BackupError(TagstackError):
    """A backup folder is damaged, in use, or of another log."""


class Segment(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a backup: the messages of the log from position `first` to `last`."""

    file: str
    first: int
    last: int
    messages: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What a backup holds. `log` tells the log apart from every other one."""

    log: str
    segments: list[Segment] = []
    reached: Reached = Reached(0, "")
    time: str = ""
    format: str = FORMAT
    version: int = VERSION

    @property
    def messages(self) -> int:
        """Return how many messages the backup holds."""
        return sum(segment.messages for segment in self.segments)


class _Line(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One line of a segment. A body that is no JSON on one line stands in `body_base64`."""

    position: int
    stored: str
    subject: str
    headers: dict[str, str]
    body: msgspec.Raw = msgspec.Raw()
    body_base64: str = ""


_encoder = msgspec.json.Encoder()
_lines = msgspec.json.Decoder(_Line)
_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def line_of(record: Record) -> bytes:
    """Return a record as a line of a segment, its body byte for byte."""
    line = _Line(record.position, record.stored, record.subject, record.headers)
    if _is_one_line_of_json(record.body):
        line.body = msgspec.Raw(record.body)
    else:
        line.body_base64 = base64.b64encode(record.body).decode()
    return _encoder.encode(line) + b"\n"


def record_of(line: bytes) -> Record:
    """Return the record in a line. Raises BackupError."""
    try:
        read = _lines.decode(line)
        body = bytes(read.body) or base64.b64decode(read.body_base64, validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise BackupError(f"a line can't be read: {error}") from error
    return Record(read.position, read.stored, read.subject, read.headers, body)


def _is_one_line_of_json(body: bytes) -> bool:
    if not body or b"\n" in body or b"\r" in body or body != body.strip():
        return False
    try:
        body.decode()
        _anything.decode(body)
    except UNREADABLE:
        return False
    return True


class BackupFolder:
    """A backup folder, read and changed by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[BackupFolder]:
        """Keep other processes from changing the folder; the lock goes with the process.

        Raises: BackupError where another one has it, or the folder can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise BackupError(f"{self.path} can't be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupError(f"another backup into {self.path} is running") from None
            yield self

    def manifest(self) -> Manifest | None:
        """Return what the folder holds; None where it holds no backup.

        Raises: BackupError for a manifest that can't be read or is of another format.
        """
        try:
            manifest = msgspec.json.decode((self.path / MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise BackupError(f"{self.path / MANIFEST} can't be read: {error}") from error
        if (manifest.format, manifest.version) != (FORMAT, VERSION):
            raise BackupError(f"{self.path / MANIFEST} is of format {manifest.format} {manifest.version}")
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step, and remove segments that it names no more."""
        text = msgspec.json.format(_encoder.encode(manifest), indent=2) + b"\n"
        with open_new(part := self.path / f"{MANIFEST}.part") as file:
            file.write(text)
        replace_on_disk(part, self.path / MANIFEST)
        named = {segment.file for segment in manifest.segments}
        for path in self.path.iterdir():
            if _SEGMENT.fullmatch(path.name) and path.name not in named:
                path.unlink()

    def faults(self, manifest: Manifest) -> Iterator[str]:
        """Return what is wrong with the files, as the manifest has them; no message is decoded."""
        last = 0
        for segment in manifest.segments:
            path = self.path / segment.file
            if segment.first <= last:
                yield f"{path}: begins at position {segment.first}, the one before it ends at {last}"
            last = segment.last
            try:
                found = _sha256(path)
            except OSError as error:
                yield f"{path}: can't be read: {error.strerror}"
                continue
            if found != segment.sha256:
                yield f"{path}: SHA-256 is {found}, the manifest says {segment.sha256}"
        if last != manifest.reached.position:
            yield f"{self.path / MANIFEST}: reached {manifest.reached.position}, the segments end at {last}"

    def records(self, manifest: Manifest, after: int = 0) -> Iterator[Record]:
        """Return the messages behind a position, in order.

        Raises: BackupError naming the file where one holds something else than its entry says.
        """
        for segment in manifest.segments:
            if segment.last > after:
                yield from (record for record in self._read(segment) if record.position > after)

    def _read(self, segment: Segment) -> Iterator[Record]:
        path = self.path / segment.file
        count, last = 0, segment.first - 1
        try:
            with gzip.open(path) as file:
                while line := file.readline(LINE_BYTES_MAX):
                    record = record_of(line)
                    if record.position <= last:
                        raise BackupError(f"position {record.position} stands behind {last}")
                    count, last = count + 1, record.position
                    yield record
        except (OSError, EOFError, BackupError) as error:
            raise BackupError(f"{path}: {error}") from error
        if (count, last) != (segment.messages, segment.last):
            raise BackupError(
                f"{path}: has {count} messages up to {last}, the manifest says {segment.messages} up to {segment.last}"
            )


def open_new(path: Path) -> Any:
    """Return a file to be written from its beginning."""
    return path.open("wb")


def replace_on_disk(part: Path, path: Path) -> None:
    """Give a finished file its name, once its content is on disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
