"""The folder of an export: Parquet files and a manifest, each replaced in one step."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tagstack.adapters.backup_files import replace_on_disk
from tagstack.application.export import FORMAT, VERSION, Manifest
from tagstack.domain.errors import TagstackError

MANIFEST = "manifest.json"


class ExportError(TagstackError):
    """The folder can't be exported to."""


class ExportFolder:
    """A folder that holds an export."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[ExportFolder]:
        """Keep other exports out of the folder; the lock goes with the process. Raises ExportError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise ExportError(f"{self.path} can't be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExportError(f"another export into {self.path} is running") from None
            try:
                yield self
            except OSError as error:
                raise ExportError(f"{self.path} can't be written: {error.strerror or error}") from error

    def manifest(self) -> Manifest | None:
        """Return what the folder holds. Raises ExportError for a manifest that can't be read."""
        try:
            manifest = msgspec.json.decode((self.path / MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ExportError(f"{self.path / MANIFEST} can't be read: {error}") from error
        if (manifest.format, manifest.version) != (FORMAT, VERSION):
            raise ExportError(f"{self.path / MANIFEST} is of format {manifest.format} {manifest.version}")
        return manifest

    def part(self, file: str) -> str:
        """Return the path under which a file is written; no reader's pattern for Parquet files matches it."""
        path = self._part(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return str(path)

    def put(self, file: str) -> int:
        """Give a whole file its name; return its size."""
        replace_on_disk(self._part(file), self.path / file)
        return (self.path / file).stat().st_size

    def has(self, file: str, size: int) -> bool:
        """Return whether a file is there, as big as it should be."""
        path = self.path / file
        return path.is_file() and path.stat().st_size == size

    def save(self, manifest: Manifest, *, complete: bool) -> None:
        """Replace the manifest; remove files that a complete one does not name."""
        part = self._part(MANIFEST)
        part.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        replace_on_disk(part, self.path / MANIFEST)
        if not complete:
            return
        for pattern in ("*.parquet", "events/day=*/*.parquet", ".*.part", "events/day=*/.*.part"):
            for path in self.path.glob(pattern):
                if str(path.relative_to(self.path)) not in manifest.files:
                    path.unlink()

    def _part(self, file: str) -> Path:
        path = self.path / file
        return path.with_name(f".{path.name}.part")
