"""What DuckDB's errors say about a file: it is damaged, there is no room for it, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tagstack.application.read_models import Damaged, GivenUp, OutOfRoom, Unwritten

_OF_THE_FILE = (duckdb.OperationalError, duckdb.FatalException, duckdb.InternalError)
_NO_ROOM = ("No space left", "Too many open files", "Read-only file system")  # nothing is wrong with the file itself
_GIVEN_UP = "has been invalidated"


def is_no_room(error: duckdb.Error) -> bool:
    """Return whether the disk, or the process, had no room for what was to be done."""
    return any(why in str(error) for why in _NO_ROOM)


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Turn what DuckDB raises about a file into Damaged or a kind of OutOfRoom; what a row is to blame for passes."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OutOfRoom(f"{path}: {error}") from error
    except duckdb.Error as error:
        if type(error) is not duckdb.Error and not isinstance(error, _OF_THE_FILE):  # the bare one: a wrong checksum
            raise
        if is_no_room(error):
            kind = GivenUp if _GIVEN_UP in str(error) else Unwritten
            raise kind(f"{path}: {error}") from error
        raise Damaged(f"{path}: {error}") from error
    except OSError as error:  # DuckDB imports what it needs at its first batch, and may have no descriptor for that
        raise OutOfRoom(f"{path}: {error}") from error
