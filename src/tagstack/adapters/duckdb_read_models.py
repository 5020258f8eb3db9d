"""One DuckDB file of read models: rows of all of them and the checkpoint move in one transaction.

A message at or below the checkpoint changes nothing, so a batch may arrive twice, late, or cut
anywhere. Used by one thread only, but for what says otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
from msgspec.structs import replace

from tagstack.adapters.duckdb_batch import Decoder, as_batch, dead_letter, join
from tagstack.adapters.duckdb_faults import faults_of
from tagstack.adapters.duckdb_opening import FileOptions, open_file
from tagstack.adapters.duckdb_projections import BadProjection, ReadModel, applied, built_last
from tagstack.adapters.duckdb_schema import run_file, set_up
from tagstack.adapters.duckdb_sorting import sort_table
from tagstack.application.read_models import (
    GROUP_ROWS,
    Checkpoint,
    Complaint,
    Damaged,
    Decoded,
    LogMessage,
    OutOfRoom,
    Unwritten,
)

COMPLAINTS_MAX = 100
WAITING_SHARE = 0.35  # of the memory, for events whose rows wait for a checkpoint; the rows take twice as much
WHOLE_GROUP_SHARE = 3  # the part of a whole group's rows that waits, a third: `events` goes into the file at once

_log = logging.getLogger(__name__)

# what one bad row raises; anything else is no matter of a single event
_OF_A_ROW = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)


class ReadModelFile:
    """The read models in one file, open for writing."""

    def __init__(self, path: Path, models: Sequence[ReadModel], options: FileOptions | None = None) -> None:
        """Open or create the file. Raises Damaged, Unavailable where another process has it, BadProjection."""
        self.path = path
        self._models = models
        self._options = options or FileOptions()
        self._built_last: list[ReadModel] = []
        self._orders = [order for model in models for order in model.sorted.items()]
        self._sorting, self._sort_tried = "", False
        self._waiting_bytes = 0  # of events whose rows no checkpoint has taken into the file
        self._decoder = Decoder(self._options.beforehand_min)
        self.connection = open_file(path, self._options)
        # closing any descriptor of the file would end DuckDB's lock on it, so this one stays open with it
        self.descriptor = -1 if str(path) == ":memory:" else os.open(path, os.O_RDONLY)
        try:
            self._prepare()
            self.checkpoint = self._read_checkpoint()
            if self._options.building and not self.checkpoint.position:
                self._built_last = built_last(models)
            self._applied = applied([model for model in models if model not in self._built_last])
            self.sorted_position = self._scalar("SELECT sorted_position FROM checkpoint")
            self.dead_letters = self._scalar("SELECT count(*) FROM dead_letters")
        except BaseException:
            self.close()
            raise

    def fold(self, messages: Sequence[LogMessage], log: str) -> int:
        """Decode and fold messages of the log called `log`; return how many were new. Raises OutOfRoom, Damaged."""
        return self.fold_decoded(self.decode(messages), log)

    def decode(self, messages: Sequence[LogMessage]) -> Decoded:
        """Return messages ready to be folded; called by any thread."""
        by_position = {message.position: message for message in messages}
        return self._decoder.decode([by_position[position] for position in sorted(by_position)])

    def join(self, first: Decoded, second: Decoded) -> Decoded:
        """Return what comes one after the other as one batch."""
        return join(first, second)

    def fold_decoded(self, decoded: Decoded, log: str) -> int:
        """Fold decoded messages of the log called `log`, each once; return how many were new.

        Raises: OutOfRoom, Damaged.
        """
        before = self.checkpoint.position
        if decoded.messages and decoded.messages[0].position <= before:
            decoded = self._decoder.decode([message for message in decoded.messages if message.position > before])
        if decoded.messages:
            self._fold(decoded, log)
            self._relieve(decoded)
        return len(decoded.messages)

    def complaints(self) -> list[Complaint]:
        """Return what the read models' checks complain about, up to a bound. Raises Damaged, OutOfRoom."""
        found: list[Complaint] = []
        for model in self._models:
            for statement in duckdb.extract_statements(model.checks):
                with faults_of(self.path):
                    rows = self.connection.execute(statement).fetchmany(COMPLAINTS_MAX)
                found += [Complaint(model.name, str(row[0]), " ".join(map(str, row[1:]))) for row in rows]
        return found[:COMPLAINTS_MAX]

    def rehearse(self) -> None:
        """Run all SQL of the read models on a batch without events. Raises BadProjection for SQL that does not run."""
        self._transaction(self._rehearse)

    def names(self) -> list[str]:
        """Return the names of the read models."""
        return [model.name for model in self._models]

    def wal_path(self) -> Path:
        """Return the path of the write-ahead log beside the file."""
        return self.path.with_name(self.path.name + ".wal")

    def compact(self) -> None:
        """Take what the write-ahead log holds into the file, and the file to the disk. Raises Damaged, OutOfRoom."""
        self._checkpoint()
        if self._options.building:
            self._sync()

    def complete(self) -> None:
        """Make what a build makes at its end; from then on it is folded as all the rest. Raises OutOfRoom, Damaged."""
        if not self._built_last:
            return
        self._checkpoint()
        with faults_of(self.path):
            self._transaction(lambda: self._run_all("build", self._built_last))
        self._built_last = []
        self._applied = applied(self._models)

    def sort(self) -> None:
        """Sort the tables that are to be sorted in a file that was built, and take it to the disk; once only.

        It takes long, and changes no row: where it is interrupted, or there is not enough room, what is left
        stays as it is. Raises OutOfRoom, Damaged.
        """
        if self._sort_tried:
            return
        self._sort_tried = True
        try:
            for table, columns in self._orders:
                rows = self._scalar(f"SELECT count(*) FROM main.{table}")  # noqa: S608 the projections' own name
                if rows >= self._options.sorted_rows_min:
                    self._sorting = table
                    with faults_of(self.path):
                        sort_table(self.connection, table, columns)
            with faults_of(self.path):
                self.connection.execute("UPDATE checkpoint SET sorted_position = position")
            self.compact()
            self.sorted_position = self.checkpoint.position
        except duckdb.InterruptException:
            _log.info("sorting %s was interrupted", self._sorting or "tables")
        except OutOfRoom as error:
            raise OutOfRoom(f"{self._sorting or 'a table'} stays unsorted, so lookups are slower: {error}") from error
        finally:
            self._sorting = ""

    def sorting(self) -> tuple[str, float]:
        """Return the table that is being sorted, else "", and how far that is, 0 to 1. Called by any thread."""
        table = self._sorting
        return table, max(self.connection.query_progress(), 0) / 100 if table else 0

    def interrupt(self) -> None:
        """End what the connection is doing now; called by another thread."""
        self.connection.interrupt()

    def limit_memory(self, megabytes: int) -> None:
        """Change the bound on memory. Raises OutOfRoom where more is in use that can't be let go."""
        with faults_of(self.path):
            self.connection.execute(f"SET memory_limit = '{megabytes}MB'")

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        self.connection.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _prepare(self) -> None:
        try:
            with faults_of(self.path):
                self._transaction(lambda: set_up(self.connection, self._models))
                self.connection.execute("CHECKPOINT")
        except duckdb.ProgrammingError as error:
            raise BadProjection(f"projections: {error}") from error
        except duckdb.Error as error:
            raise Damaged(f"{self.path} can't be read: {error}") from error

    def _fold(self, decoded: Decoded, log: str) -> None:
        """Store a batch; where a row of it can't be stored, or memory is short, halve it until that one is alone."""
        messages = decoded.messages
        after = Checkpoint(messages[-1].position, log, messages[-1].identity)
        try:
            with faults_of(self.path):
                self._transaction(lambda: self._store(decoded, after))
        except _OF_A_ROW as error:
            if len(messages) == 1 and not decoded.dead:
                letter = dead_letter(messages[0], str(error))
                self._fold(replace(self._decoder.decode([]), messages=messages, dead=(letter,)), log)
                return
            if len(messages) == 1:
                raise
        except OutOfRoom as error:
            if self._options.building and self._waiting_bytes and not isinstance(error, Unwritten):
                self._checkpoint()
                self._fold(decoded, log)
                return
            if len(messages) == 1 or isinstance(error, Unwritten):
                raise
        else:
            self.checkpoint = after
            self.dead_letters += len(decoded.dead)
            return
        for half in (messages[: len(messages) // 2], messages[len(messages) // 2 :]):
            self._fold(self._decoder.decode(half), log)

    def _relieve(self, folded: Decoded) -> None:
        """Take the rows of a file that is being built out of the memory, once they are many."""
        if not self._options.building:
            return
        whole = len(folded.messages) >= GROUP_ROWS
        self._waiting_bytes += folded.size // WHOLE_GROUP_SHARE if whole else folded.size
        if self._waiting_bytes > self._options.memory_mb * WAITING_SHARE * 1e6:
            self._checkpoint()

    def _checkpoint(self) -> None:
        with faults_of(self.path):
            self.connection.execute("CHECKPOINT")
        self._waiting_bytes = 0

    def _store(self, decoded: Decoded, after: Checkpoint) -> None:
        with as_batch(self.connection, decoded):
            for folds, statement in self._applied:
                if not folds.isdisjoint(decoded.types):
                    self.connection.execute(statement)
        if decoded.dead:
            letters = [list(letter) for letter in decoded.dead]
            self.connection.executemany("INSERT INTO dead_letters VALUES (?, ?, ?, ?)", letters)
        self.connection.execute(
            "UPDATE checkpoint SET position = ?, log = ?, event_id = ?", [after.position, after.log, after.event_id]
        )

    def _rehearse(self) -> None:
        with as_batch(self.connection, self.decode([])):
            for file in ("apply", "build", "checks"):
                self._run_all(file, self._models)

    def _run_all(self, file: str, models: Sequence[ReadModel]) -> None:
        for model in models:
            run_file(self.connection, model, file)

    def _transaction(self, work: Callable[[], None]) -> None:
        self.connection.execute("BEGIN")
        try:
            work()
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _sync(self) -> None:
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise Damaged(f"{self.path} can't be taken to the disk: {error}") from error

    def _read_checkpoint(self) -> Checkpoint:
        try:
            row = self.connection.execute("SELECT position, log, event_id FROM checkpoint").fetchone()
        except duckdb.Error as error:
            raise Damaged(f"{self.path} has no checkpoint: {error}") from error
        if row is None:
            raise Damaged(f"{self.path} has no checkpoint")
        return Checkpoint(*row)

    def _scalar(self, query: str) -> int:
        row = self.connection.execute(query).fetchone()
        return int(row[0]) if row else 0
