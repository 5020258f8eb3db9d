"""The worker's side of the processes that run statements: started, asked, and killed here.

A process is used again only after its statement ended; one that was stopped half-way is killed, since
nothing else stops a statement for certain. The next statement gets another one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tagstack.adapters.snapshot_file import Stamp, stamp
from tagstack.adapters.sql_frames import (
    PREFIX,
    AnyFrame,
    Ask,
    Behind,
    Chunk,
    Done,
    Failed,
    Ready,
    RunnerOptions,
    length,
    pack,
    unpack,
)
from tagstack.application.statements import Ended, Piece
from tagstack.domain.errors import BadRequest, Refused, TagstackError, TooLarge, Unavailable

PROCESSES_MAX = 3
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
BUFFER_BYTES_MAX = 512 * 1024  # of an answer that wait in the worker, per statement

_REFUSALS: dict[str, type[Refused]] = {error.reason: error for error in (BadRequest, TooLarge)}


class SqlProcess:
    """One process, and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        memory_mb: int,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._memory_mb = memory_mb
        self.ended = True  # whether the last statement did

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether it can take a statement."""
        return self.ended and self._process.returncode is None and not self._reader.at_eof()

    async def ready(self) -> None:
        """Wait until it says that it is ready. Raises Unavailable."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                assert isinstance(await self._next(), Ready)
        except TimeoutError:
            raise Unavailable(f"a process for SQL did not start within {START_TIMEOUT_S:g} s") from None

    async def run(self, request: bytes, piece_bytes_max: int, deliver: Callable[[Piece], Awaitable[None]]) -> Ended:
        """Hand over every piece of the answer. Raises Refused, or Unavailable where the process died."""
        self.ended = False
        await self._send(Ask(request, piece_bytes_max))
        while True:
            match await self._next():
                case Chunk(body, position):
                    await deliver(Piece(body, position))
                case Done(rows, position):
                    self.ended = True
                    return Ended(rows, position)
                case Behind(position):
                    self.ended = True
                    return Ended(0, position, behind=True)
                case Failed(reason, message, last):
                    self.ended = not last
                    raise _REFUSALS[reason](message) if reason in _REFUSALS else Unavailable(message)
                case other:
                    raise AssertionError(f"{other} is no answer")

    async def _send(self, ask: Ask) -> None:
        try:
            self._writer.write(pack(ask))
            await self._writer.drain()
        except ConnectionError:
            raise await self._death() from None

    async def _next(self) -> AnyFrame:
        try:
            prefix = await self._reader.readexactly(PREFIX.size)
            return unpack(await self._reader.readexactly(length(prefix)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._death() from None

    async def _death(self) -> TagstackError:
        code = await self._process.wait()
        if code in (0, -signal.SIGKILL, -signal.SIGTERM):
            return Unavailable("the process that ran the statement was killed from outside: ask again")
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return TooLarge(
            f"the statement broke the process that ran it ({how}), most likely for lack of memory: "
            f"the limit is {self._memory_mb} MB (sql_memory_mb)"
        )

    def kill(self) -> None:
        """Kill it at once, whatever it does."""
        self._writer.close()
        if self._process.returncode is None:
            self._process.kill()

    async def gone(self) -> None:
        """Wait until a killed process is gone."""
        await self._process.wait()


class SqlProcesses:
    """A bounded number of processes, started when they are needed."""

    def __init__(self, options: RunnerOptions) -> None:
        self._options = options
        self._room = asyncio.Semaphore(PROCESSES_MAX)
        self._idle: list[SqlProcess] = []
        self._busy: set[SqlProcess] = set()
        self._dying: set[asyncio.Task[None]] = set()
        self.killed = 0

    async def start(self) -> None:
        """Start the first process, to see that it can be done. Raises Unavailable."""
        self._idle.append(await self._started())

    def snapshot(self) -> Stamp | None:
        """Return what tells the newest snapshot from any other, or None where there is none."""
        return stamp(Path(self._options.snapshot))

    def pids(self) -> list[int]:
        """Return the ids of the processes that run a statement."""
        return [process.pid for process in self._busy]

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[SqlProcess]:
        """Return a process to run one statement; it is killed unless that statement ended."""
        async with self._room:
            process = await self._free()
            self._busy.add(process)
            try:
                yield process
            finally:
                self._busy.discard(process)
                if process.alive():
                    self._idle.append(process)
                else:
                    self.killed += 1
                    self._kill(process)

    async def stop(self) -> None:
        """Kill every process and wait, within a bound, until they are gone."""
        for process in [*self._idle, *self._busy]:
            self._kill(process)
        self._idle.clear()
        if self._dying:
            await asyncio.wait(self._dying, timeout=STOP_TIMEOUT_S)

    async def _free(self) -> SqlProcess:
        while self._idle:
            process = self._idle.pop()
            if process.alive():
                return process
            self._kill(process)
        return await self._started()

    async def _started(self) -> SqlProcess:
        try:
            return await self._connected(*socket.socketpair())
        except OSError as error:
            raise Unavailable(f"a process for SQL can't be started: {error}") from error

    async def _connected(self, ours: socket.socket, theirs: socket.socket) -> SqlProcess:
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=BUFFER_BYTES_MAX)
            try:
                started = await self._spawned(theirs)
            except BaseException:
                writer.close()  # a process that was started all the same sees it and ends
                raise
        process = SqlProcess(started, reader, writer, self._options.memory_mb)
        try:
            await process.ready()
        except BaseException:
            self._kill(process)
            raise
        return process

    async def _spawned(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        options = msgspec.structs.replace(self._options, descriptor=theirs.fileno(), worker=os.getpid())
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "tagstack.apps.sql_runner",
            msgspec.json.encode(options).decode(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={"MALLOC_ARENA_MAX": "2"},  # nothing of ours to read; more arenas would use up the addresses
            cwd="/",
            start_new_session=True,
        )

    def _kill(self, process: SqlProcess) -> None:
        process.kill()
        task = asyncio.create_task(process.gone())
        self._dying.add(task)
        task.add_done_callback(self._dying.discard)
