"""The folder of the projector's own files: `tagstack-<fingerprint>.duckdb`, and one that is being built.

The fingerprint of the stateful SQL names the file, so changed projections find no file and are built
anew. A file takes its final name only when it is finished; whatever dies before starts again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tagstack.adapters.copying import copy_file
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import ReadModel, fingerprint
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.application.read_models import Damaged, OutOfRoom
from tagstack.domain.errors import Unavailable

DAMAGED_FILES_MAX = 2
BUILDING = "building.duckdb"
SORTING_BYTES_PER_EVENT = 450  # of disk, while a table is sorted: its new rows, and what of them memory can't hold
SPARE_BYTES = 256 << 20  # that a copy leaves free: the log may stand on the same disk

_log = logging.getLogger(__name__)


class ReadModelFiles:
    """Opens, builds, replaces and sets aside the files in one folder."""

    def __init__(self, folder: Path, models: Sequence[ReadModel], options: FileOptions | None = None) -> None:
        """Take the folder for this process. Raises Unavailable where another one has it."""
        self.folder = folder
        self.path = folder / f"tagstack-{fingerprint(models)}.duckdb"
        self._models = models
        self._options = options or FileOptions()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise Unavailable(f"another projector works in {folder}") from error
        shutil.rmtree(folder / "spill", ignore_errors=True)
        _remove(folder / BUILDING)

    def open(self) -> ReadModelFile | None:
        """Return the finished file, None where there is none or it was damaged and set aside."""
        if not self.path.exists():
            return None
        try:
            return ReadModelFile(self.path, self._models, self._options)
        except Damaged as error:
            _log.error("%s; it is set aside and built anew from the log", error)
            self._move_aside()
            return None

    def create(self) -> ReadModelFile:
        """Return a finished file that is empty."""
        return ReadModelFile(self.path, self._models, self._options)

    def build(self) -> ReadModelFile:
        """Return an empty file beside the finished one; what was left of an earlier one is gone."""
        _remove(self.folder / BUILDING)
        return ReadModelFile(self.folder / BUILDING, self._models, self._built())

    def copy(self, whole: int, events: int, stopping: Callable[[], bool]) -> ReadModelFile:
        """Return a copy of a finished file beside it, to be sorted. Closes that file's descriptor, `whole`.

        Takes long, in any thread. Raises OutOfRoom where sorting so many events needs more, Unavailable for a stop.
        """
        path = self.folder / BUILDING
        _remove(path)
        try:
            self._copy(whole, path, events, stopping)
            return ReadModelFile(path, self._models, self._built())
        except BaseException:
            _remove(path)
            raise
        finally:
            os.close(whole)

    def finish(self, building: ReadModelFile, old: ReadModelFile | None) -> ReadModelFile:
        """Close both files, put the one that was built in the other's place, and return it."""
        building.complete()
        building.compact()
        building.close()
        if building.wal_path().exists():
            raise Damaged(f"{building.path} was closed and still has a write-ahead log")
        if old is not None:
            old.close()
        # the old WAL would not fit the new file; without it the old file is merely a little older
        _wal_of(self.path).unlink(missing_ok=True)
        building.path.replace(self.path)
        for other in self.folder.glob("tagstack-*.duckdb"):
            if other != self.path:
                _remove(other)
        return ReadModelFile(self.path, self._models, self._options)

    def set_aside(self, models: ReadModelFile) -> None:
        """Close a damaged file and move it out of the way."""
        models.close()
        if models.path == self.path:
            self._move_aside()
        else:
            _remove(models.path)

    def close(self) -> None:
        """Let another process have the files."""
        os.close(self._lock)

    def _copy(self, whole: int, path: Path, events: int, stopping: Callable[[], bool]) -> None:
        needed = os.fstat(whole).st_size + events * SORTING_BYTES_PER_EVENT + SPARE_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutOfRoom(f"it needs {needed >> 20} MB of disk, and {self.folder} has {free >> 20} MB")
        try:
            target = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                copied = copy_file(whole, target, stopping)
            finally:
                os.close(target)
        except OSError as error:
            raise OutOfRoom(f"{path} can't be written: {error}") from error
        if not copied:
            raise Unavailable("it was stopped")

    def _built(self) -> FileOptions:
        memory_mb = self._options.memory_mb // 2
        return msgspec.structs.replace(self._options, building=True, memory_mb=memory_mb, beforehand_min=1)

    def _move_aside(self) -> None:
        aside = self.folder / f"damaged-{time.time_ns()}.duckdb"
        if _wal_of(self.path).exists():
            _wal_of(self.path).replace(_wal_of(aside))
        self.path.replace(aside)
        for old in sorted(self.folder.glob("damaged-*.duckdb"))[:-DAMAGED_FILES_MAX]:
            _remove(old)


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _remove(path: Path) -> None:
    for file in path.parent.glob(path.name + "*"):
        file.unlink(missing_ok=True)
