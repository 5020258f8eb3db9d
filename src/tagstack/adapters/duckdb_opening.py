"""How files of read models are opened for writing, one that is being built otherwise than a finished one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec

from tagstack.adapters.duckdb_faults import is_no_room
from tagstack.application.quoting import literal
from tagstack.application.read_models import Damaged, Unwritten
from tagstack.domain.errors import Unavailable

THREADS = 1  # a batch is too small to share out: a second thread costs more than it brings
CHECKPOINTS_BY_HAND = "1TB"
OPEN_ELSEWHERE = "Could not set lock on file"  # in what DuckDB says then; damage speaks of blocks


class FileOptions(msgspec.Struct, frozen=True):
    """How a file is opened. `building`: no snapshot is taken of it, and after a crash it is built anew.

    Tables of fewer rows than `sorted_rows_min` are not sorted: reading all of them takes some milliseconds.
    Fewer events than `beforehand_min` are not decoded before they are folded: handing over their rows takes longer.
    """

    memory_mb: int = 1_024
    building: bool = False
    sorted_rows_min: int = 500_000
    beforehand_min: int = 5_000


def open_file(path: Path, options: FileOptions) -> duckdb.DuckDBPyConnection:
    """Open or create a file. Raises Damaged, Unwritten, Unavailable where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": THREADS,
        "memory_limit": f"{options.memory_mb}MB",
        "temp_directory": str(path.parent / "spill"),
        "wal_autocheckpoint": CHECKPOINTS_BY_HAND,
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    try:
        con = duckdb.connect(":memory:" if options.building else str(path), config=config)
        if options.building:
            _attach(con, path)
    except duckdb.Error as error:
        if OPEN_ELSEWHERE in str(error):
            raise Unavailable(f"{path} is open in another process: {error}") from error
        if is_no_room(error):
            raise Unwritten(f"{path} can't be opened: {error}") from error
        raise Damaged(f"{path} can't be opened: {error}") from error
    con.execute("SET GLOBAL TimeZone = 'UTC'")  # the same rows wherever the machine stands
    # with optimistic writes a big commit goes into the file past its WAL, which snapshots are made of; where none are
    # made, whole groups of rows go there at once, and need not wait for a checkpoint
    con.execute(f"SET enable_optimistic_write = {options.building}")
    return con


def _attach(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Attach a file that is built anew after a crash: nothing of it is logged or synced before its end."""
    con.execute(f"ATTACH {literal(str(path))} AS building (RECOVERY_MODE NO_WAL_WRITES)")
    con.execute("USE building")
    con.execute("SET fsync_mode = 'NONE'")
