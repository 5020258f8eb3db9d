"""Snapshots for readers: `HOME/live/tagstack.duckdb` is opened by any DuckDB client, at any moment.

A snapshot is a folder with a copy of the file as its last checkpoint left it (the base) and a copy of
the write-ahead log since; `live` is a symbolic link to the newest folder. DuckDB resolves the path once
and opens both files by the resolved one, so a switch in between never mixes two snapshots. Snapshots of
one base share both files by hard links: publishing costs what was written since the last one. A reader
that sees the shared log grow sees a whole number of transactions, as after a crash.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import msgspec

from tagstack.adapters.copying import COPY_BYTES, copy_file
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.snapshot_file import NAME
from tagstack.application.read_models import OutOfRoom

COPY_WAIT_S = 0.2
VERIFY_BYTES = 8 << 20  # while the log is shorter, every snapshot is opened before it is shown
VERIFY_SHARE = 0.1  # of the time; what opening may take beyond that
_DRAFT = ".draft-"

_log = logging.getLogger(__name__)


class SnapshotLimits(msgspec.Struct, frozen=True):
    """The bounds of snapshots.

    `kept_max` bounds both the snapshots kept and the copies of the whole file among them. A replaced
    snapshot stays for `grace_s`, for readers that have resolved its path and not opened it yet. A new
    base is made when the log since the last one is longer than an eighth of the file, in bounds.
    """

    kept_max: int = 3
    grace_s: float = 5.0
    wal_bytes_min: int = 64 << 20
    wal_bytes_max: int = 128 << 20


class UnreadableSnapshot(Exception):
    """A snapshot that was made does not open, or does not hold the position it should."""


class _Base:
    """One copy of the whole file, with the copy of the write-ahead log that grows beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # the newest snapshot of this base; later ones link its files
        self.wal = os.open(folder / f"{NAME}.wal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.wal_bytes = 0
        self.verified_bytes = -1  # of the log; nothing is before the first look

    def append(self, wal: Path) -> None:
        """Copy what the file's own log has got since."""
        if not wal.exists():
            return
        with wal.open("rb") as source:
            source.seek(self.wal_bytes)
            while part := source.read(COPY_BYTES):
                os.write(self.wal, part)
                self.wal_bytes += len(part)

    def restrict(self) -> None:
        """Take back what was appended since the last look that found everything well."""
        self.wal_bytes = max(self.verified_bytes, 0)
        os.ftruncate(self.wal, self.wal_bytes)

    def close(self) -> None:
        """Append no more; the files stay."""
        os.close(self.wal)


class DuckDBSnapshots:
    """Publishes snapshots of a file and removes old ones. Used by the thread that writes the file."""

    def __init__(self, live: Path, limits: SnapshotLimits | None = None) -> None:
        """Take over what an earlier process left: its newest snapshot stays until there is one of ours."""
        live.parent.mkdir(parents=True, exist_ok=True)
        self.live = live.parent.resolve() / live.name
        self.folder = self.live.parent / "snapshots"
        self._limits = limits or SnapshotLimits()
        self._base: _Base | None = None
        self._of: ReadModelFile | None = None
        self._copying: Future[_Base] | None = None
        self._copier = ThreadPoolExecutor(1, "snapshot-copy")
        self._replaced: deque[tuple[float, Path]] = deque()
        self._verify_s, self._verified_at = 0.0, 0.0
        self.unreadable = 0
        self._take_over()

    def exists(self) -> bool:
        """Return whether readers have a snapshot."""
        return (self.live / NAME).exists()

    def publish(self, models: ReadModelFile) -> bool:
        """Show readers the present state; return whether they see it.

        They don't while a new base is being copied, and where a new snapshot can't be read.
        """
        try:
            return self._publish(models)
        except UnreadableSnapshot as error:
            _log.error("%s; readers keep the last snapshot", error)
            self.unreadable += 1
            return False
        except OSError as error:
            raise OutOfRoom(f"no snapshot can be written to {self.folder}: {error}") from error

    def whole(self, models: ReadModelFile) -> int | None:
        """Return a descriptor, to be closed, of a copy of the file that never changes; None where there is none yet.

        It is the base of the snapshots, which is some moments old: only the log has the rest.
        """
        if models is not self._of or self._base is None:
            return None
        try:
            return os.open(self._base.folder / NAME, os.O_RDONLY)
        except OSError as error:
            raise OutOfRoom(f"the snapshot in {self._base.folder} can't be read: {error}") from error

    def withhold(self, models: ReadModelFile) -> None:
        """Keep the last snapshot; take a log that has become long into the file."""
        if _size(models.wal_path()) > 2 * self._limits.wal_bytes_max:
            self._forget_base()
            models.compact()

    def release(self) -> None:
        """Let go of the file, before it is closed."""
        self._forget_base()
        self._of = None

    def close(self) -> None:
        """Finish what runs in the background. The newest snapshot stays."""
        self.release()
        self._copier.shutdown()

    def _publish(self, models: ReadModelFile) -> bool:
        if models is not self._of:
            self._forget_base()
            self._of = models
        base = self._ready_base(models)
        if base is None:
            return False
        base.append(models.wal_path())
        folder = self._new_folder("")
        os.link(base.folder / NAME, folder / NAME)
        os.link(base.folder / f"{NAME}.wal", folder / f"{NAME}.wal")
        try:
            self._verify(folder, base, models.checkpoint.position)
        except UnreadableSnapshot:
            base.restrict()
            shutil.rmtree(folder)
            self._forget_base()
            raise
        self._switch(folder)
        if base.folder.name.startswith(_DRAFT):
            shutil.rmtree(base.folder)
        base.folder = folder
        self._prune()
        if base.wal_bytes > self._wal_bytes_max(models) and self._bases() < max(self._limits.kept_max, 2):
            self._begin_base(models)
        return True

    def _ready_base(self, models: ReadModelFile) -> _Base | None:
        if self._base is None and self._copying is None:
            self._begin_base(models)
        if self._copying is not None:
            try:
                self._base = self._copying.result(COPY_WAIT_S)
            except TimeoutError:
                return None
            finally:
                if self._copying.done():
                    self._copying = None
        return self._base

    def _begin_base(self, models: ReadModelFile) -> None:
        """Take the log into the file and copy the file in the background: it stays as it is until the next time."""
        self._forget_base()
        models.compact()
        self._copying = self._copier.submit(self._copy, models.descriptor)

    def _copy(self, source: int) -> _Base:
        folder = self._new_folder(_DRAFT)
        target = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT, 0o444)
        try:
            copy_file(source, target)
        finally:
            os.close(target)
        return _Base(folder)

    def _forget_base(self) -> None:
        if self._copying is not None:
            # whoever closes the file or takes a log into it must not do so while it is being copied
            self._base = self._copying.result()
            self._copying = None
        if self._base is not None:
            self._base.close()
            if self._base.folder.name.startswith(_DRAFT):
                shutil.rmtree(self._base.folder)
        self._base = None

    def _verify(self, folder: Path, base: _Base, position: int) -> None:
        """Open a snapshot as a reader would, unless its log is long and that was done a moment ago."""
        began = time.monotonic()
        recent = base.verified_bytes >= 0 and began - self._verified_at < self._verify_s / VERIFY_SHARE
        if recent and base.wal_bytes > VERIFY_BYTES:
            return
        try:
            config: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "temp_directory": ""}
            with duckdb.connect(str(folder / NAME), read_only=True, config=config) as reader:
                found = reader.execute("SELECT position FROM checkpoint").fetchall()
        except duckdb.Error as error:
            raise UnreadableSnapshot(f"the snapshot of position {position} can't be read: {error}") from error
        if found != [(position,)]:
            raise UnreadableSnapshot(f"the snapshot of position {position} holds {found}")
        base.verified_bytes = base.wal_bytes
        self._verified_at = time.monotonic()
        self._verify_s = self._verified_at - began

    def _switch(self, folder: Path) -> None:
        before = self.live.resolve() if self.live.is_symlink() else None
        if before is None and self.live.is_dir():
            self.live.rmdir()  # someone made the folder ahead of us; it must be empty
        draft = self.live.with_name(f".{self.live.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(folder.relative_to(self.live.parent))  # relative: a home can be moved
        draft.replace(self.live)
        if before is not None and before.parent == self.folder:
            self._replaced.append((time.monotonic(), before))

    def _prune(self) -> None:
        now = time.monotonic()
        while len(self._replaced) >= self._limits.kept_max and self._replaced[0][0] < now - self._limits.grace_s:
            shutil.rmtree(self._replaced.popleft()[1], ignore_errors=True)

    def _take_over(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        current = self.live.resolve()
        for folder in sorted(self.folder.iterdir()):
            if folder.name.startswith(_DRAFT):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder != current:
                self._replaced.append((time.monotonic(), folder))

    def _new_folder(self, prefix: str) -> Path:
        folder = self.folder / f"{prefix}{time.time_ns():020d}"
        folder.mkdir()
        return folder

    def _bases(self) -> int:
        """Return how many copies of the whole file are on disk."""
        found = {path.stat().st_ino for path in self.folder.glob(f"*/{NAME}")}
        return len(found)

    def _wal_bytes_max(self, models: ReadModelFile) -> int:
        eighth = os.fstat(models.descriptor).st_size // 8
        return min(max(eighth, self._limits.wal_bytes_min), self._limits.wal_bytes_max)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
