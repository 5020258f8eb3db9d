"""The process that runs analysts' statements: started by the SQL worker, spoken to over one socket.

It starts with an empty environment, bounds its own address space, and dies with the worker. After a
lack of memory it ends by itself, so that the next statement begins with all of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import duckdb
import msgspec

from tagstack.adapters.duckdb_guard import Rows
from tagstack.adapters.duckdb_locked_snapshot import Snapshot
from tagstack.adapters.sql_frames import (
    PREFIX,
    Ask,
    Behind,
    Chunk,
    Done,
    Failed,
    Frame,
    Ready,
    RunnerOptions,
    length,
    pack,
    unpack,
)
from tagstack.application.statements import read_statement
from tagstack.domain.errors import Refused, Unavailable

NICENESS = 10  # the projector goes first
GIVE_WAY_ATTEMPTS, GIVE_WAY_WAIT_S = 5, 0.12  # the system takes it from one process per 0.1 s
ADDRESS_SPACE_OVERHEAD_MB = 512  # stacks and arenas of threads: addresses, not memory
AUTOGROUP = Path("/proc/self/autogroup")
_PR_SET_PDEATHSIG = 1
_MB = 1024 * 1024


def main() -> None:
    """Take statements until the worker closes the socket."""
    options = msgspec.json.decode(sys.argv[1], type=RunnerOptions)
    peer = socket.socket(fileno=options.descriptor)
    _die_with(options.worker)
    _bound(options.memory_mb)
    snapshot = Snapshot(Path(options.snapshot), options.memory_mb)
    peer.sendall(pack(Ready()))
    while (prefix := _exactly(peer, PREFIX.size)) and (body := _exactly(peer, length(prefix))):
        ask = unpack(body)
        assert isinstance(ask, Ask)
        end = _answer(peer, ask, snapshot, options)
        peer.sendall(pack(end))
        if isinstance(end, Failed) and end.last:
            return


def _answer(peer: socket.socket, ask: Ask, snapshot: Snapshot, options: RunnerOptions) -> Frame:
    try:
        return _run(peer, ask, snapshot, options.rows_max)
    except (MemoryError, duckdb.OutOfMemoryException) as error:
        return _too_much(options.memory_mb, error)
    except Refused as error:
        return Failed(error.reason, error.message)
    except Unavailable as error:
        return Failed("ServiceUnavailable", str(error))
    except (duckdb.FatalException, duckdb.InternalException) as error:
        return Failed("BadRequest", f"DuckDB gave up on the statement: {error}", last=True)
    except (duckdb.Error, RecursionError, ValueError, OverflowError, NotImplementedError) as error:
        return Failed("BadRequest", str(error))


def _run(peer: socket.socket, ask: Ask, snapshot: Snapshot, rows_max: int) -> Frame:
    statement = read_statement(ask.body)
    session = snapshot.session()
    if session is None:
        if statement.min_position:
            return Behind(0)
        raise Unavailable("there is no snapshot yet: the projector has not written one")
    try:
        position = snapshot.position
        if position < statement.min_position:
            return Behind(position)
        rows = Rows(session, rows_max, ask.chunk_bytes_max)
        for body in rows.chunks(statement, position):
            peer.sendall(pack(Chunk(body, position)))
        return Done(rows.sent, position)
    finally:
        session.close()


def _too_much(memory_mb: int, error: Exception) -> Failed:
    told = str(error).strip().partition("\n")[0]
    return Failed(
        "RequestEntityTooLarge",
        f"the statement was stopped: it needs more than {memory_mb} MB of memory (sql_memory_mb)"
        + (f": {told}" if told else ""),
        last=True,
    )


def _exactly(peer: socket.socket, size: int) -> bytes:
    """Return so many bytes, or none once the worker is gone."""
    parts: list[bytes] = []
    while size and (part := peer.recv(min(size, _MB))):
        parts.append(part)
        size -= len(part)
    return b"" if size else b"".join(parts)


def _die_with(worker: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:  # it died before we asked for that
        sys.exit("the worker is gone")


def _give_way() -> None:
    """Let others go first: as a process, and as a session where the system shares out time by sessions.

    This process has a session of its own, so among those its own niceness says nothing.
    """
    os.nice(NICENESS)
    for _ in range(GIVE_WAY_ATTEMPTS):
        try:
            AUTOGROUP.write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(GIVE_WAY_WAIT_S)
        except OSError:
            return  # the system does not share out time so, or does not let us
        else:
            return


def _bound(memory_mb: int) -> None:
    _give_way()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        allowed = used + (memory_mb + ADDRESS_SPACE_OVERHEAD_MB) * _MB
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


if __name__ == "__main__":
    main()
