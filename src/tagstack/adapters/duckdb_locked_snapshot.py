"""The newest snapshot, opened so that a stranger's SQL can't leave it.

Everything is set before the first statement and then locked: no file system, no network, no extension,
no settings, no Python variables, and one session per statement, so that nothing is left behind.
"""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from tagstack.adapters.snapshot_file import Stamp, stamp
from tagstack.domain.errors import Unavailable

OPEN_ATTEMPTS_MAX = 5
THREADS_MAX = 2

_LOCKS = (
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    # the snapshot's own file would stay readable as a file: it is open by now, and needs no name any more
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)


class Snapshot:
    """One snapshot open at a time; a newer one takes its place when the next statement begins."""

    def __init__(self, path: Path, memory_mb: int) -> None:
        self._path = path
        self._memory_mb = memory_mb
        self._stamp: Stamp | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.position = 0

    def session(self) -> duckdb.DuckDBPyConnection | None:
        """Return a fresh session on the newest snapshot, or None where there is no snapshot.

        Raises: Unavailable where it can't be opened.
        """
        reason = ""
        for _ in range(OPEN_ATTEMPTS_MAX):
            newest = stamp(self._path)
            if newest is None:
                return None
            if newest == self._stamp and self._connection is not None:
                return self._connection.cursor()
            try:
                self._open(newest)
            except (duckdb.Error, FileNotFoundError) as error:
                reason = str(error)  # pruned between the look and the opening: look again
        raise Unavailable(f"the snapshot {self._path} can't be opened: {reason}")

    def _open(self, newest: Stamp) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._stamp = None
        main, wal = Path(newest[0]), Path(newest[0] + ".wal")
        with_wal = wal.exists()
        connection = duckdb.connect(newest[0], read_only=True, config=self._config())
        if not main.exists() or wal.exists() != with_wal:
            connection.close()
            raise FileNotFoundError(f"{newest[0]} was replaced while it was opened")
        for lock in _LOCKS:
            connection.execute(lock)
        found = connection.execute("SELECT position FROM checkpoint").fetchone()
        self.position = found[0] if found else 0
        self._connection, self._stamp = connection, newest

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "threads": min(THREADS_MAX, os.cpu_count() or 1),
            "async_threads": 1,
            "memory_limit": f"{self._memory_mb}MB",
            "temp_directory": "",  # over the limit a statement ends, it does not fill the disk
            "secret_directory": "",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "allow_community_extensions": "false",
        }
