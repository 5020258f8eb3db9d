"""What the projector works with, in words of its own: messages of the log, checkpoints, and its ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from tagstack.domain.errors import TagstackError, Unavailable

GROUP_ROWS = 122_880  # that a file keeps and compresses together


class LogMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of the log. `identity` is its `ce-id`, empty where it has none."""

    position: int
    subject: str
    body: bytes
    identity: str = ""


class ProjectorOptions(msgspec.Struct, frozen=True):
    """The bounds of a projector. `batch` is what a file may lag when it takes over from another.

    A file that is built takes `built_batch` events at once, a whole group of rows, and fewer where they are
    large. When more than `unsorted_events_max` events came since the tables were sorted, they are
    sorted again; 0: never.
    """

    snapshot_interval_s: float = 0.25
    batch: int = 20_000
    built_batch: int = GROUP_ROWS
    memory_mb: int = 1_024
    shutdown_timeout_s: float = 10.0
    unsorted_events_max: int = 200_000
    compaction_retry_interval_s: float = 60.0


class DeadLetter(NamedTuple):
    """A message that is no event, or can't be stored as one."""

    position: int
    subject: str
    payload: str
    error: str


class Decoded(msgspec.Struct, frozen=True):
    """Messages in the order of the log, made ready to be folded; `done` says how far the adapter's rows are that.

    `size` is in bytes, `types` are those of the events among them, `dead` the letters of the others. Going through
    `messages` may make them anew; the first and the last are at hand.
    """

    messages: Sequence[LogMessage]
    size: int
    types: frozenset[str] = frozenset()
    dead: tuple[DeadLetter, ...] = ()
    rows: Any = None
    done: bool = False


class Checkpoint(msgspec.Struct, frozen=True):
    """How far read models have read: position, which log, and the identity of the event there."""

    position: int = 0
    log: str = ""
    event_id: str = ""


class LogIdentity(msgspec.Struct, frozen=True):
    """Which log this is: when it was created, its last position, and the identity of one of its events.

    `event_id` is None where the log has no event at the position that was asked for.
    """

    created: str
    last: int
    event_id: str | None = None


class Complaint(msgspec.Struct, frozen=True, rename="camel"):
    """A row that a check of a read model found and that must not exist."""

    read_model: str
    complaint: str
    detail: str


class Damaged(TagstackError):
    """A file can't be read as what it was written to be."""


class OtherLog(TagstackError):
    """What the read models hold is not the beginning of the log."""


class OutOfRoom(Unavailable):
    """Not enough memory or disk for a batch or a snapshot; nothing of it is stored."""


class Unwritten(OutOfRoom):
    """The disk did not take a write: what the file holds may be less than what DuckDB remembers of it."""


class GivenUp(Unwritten):
    """The disk did not take a checkpoint: DuckDB uses the file no more until it is opened anew, room or not."""


class ReaderLost(Unavailable):
    """The log's reader ended: the server was restarted, the connection was lost, or a message was missed."""


def continues(checkpoint: Checkpoint, log: LogIdentity) -> bool:
    """Return whether what was read up to a checkpoint is the beginning of this log.

    Asked with the log's event at the checkpoint. It is not after a restore, or when the log's tail was
    lost and other events came in its place.
    """
    if checkpoint.position == 0:
        return True
    return (checkpoint.log, checkpoint.event_id) == (log.created, log.event_id) and log.last >= checkpoint.position


class Reader(Protocol):
    """Hands out the log's messages in order, none twice, none left out."""

    log_position: int

    async def take(self, wait_s: float) -> list[LogMessage]:
        """Return the next messages, up to a bound; none where none came in time. Raises ReaderLost."""
        ...

    async def stop(self) -> None:
        """Read no more."""
        ...


class Source(Protocol):
    """The log as the projector reads it."""

    async def identity(self, position: int) -> LogIdentity:
        """Return which log it is, with the identity of the event at `position`. Raises Unavailable."""
        ...

    async def read(self, after: int) -> Reader:
        """Return a reader of everything after a position. Raises Unavailable."""
        ...


class ReadModels(Protocol):
    """Read models in one file; used by one thread at a time."""

    checkpoint: Checkpoint
    sorted_position: int  # what was reached when rows were last put in order
    dead_letters: int

    def decode(self, messages: Sequence[LogMessage]) -> Decoded:
        """Return messages ready to be folded. Called by any thread, while others are folded too."""
        ...

    def join(self, first: Decoded, second: Decoded) -> Decoded:
        """Return what comes one after the other as one batch."""
        ...

    def fold_decoded(self, decoded: Decoded, log: str) -> int:
        """Fold decoded messages, each once; return how many were new. Raises OutOfRoom, Damaged."""
        ...

    def complaints(self) -> list[Complaint]:
        """Return what the checks complain about."""
        ...

    def names(self) -> list[str]:
        """Return the names of the read models."""
        ...

    def complete(self) -> None:
        """Make what a build makes once it has read the log; called before it is shown. Raises OutOfRoom, Damaged."""
        ...

    def sort(self) -> None:
        """Put rows in the order that makes lookups fast, unless that was tried; it may take minutes.

        What an interruption or a lack of room leaves as it was is not tried again. Raises OutOfRoom, Damaged.
        """
        ...

    def sorting(self) -> tuple[str, float]:
        """Return the table that is being sorted, else "", and how far that is, 0 to 1. Called by any thread."""
        ...

    def interrupt(self) -> None:
        """End the sorting; the rows stay as they were. Called by another thread."""
        ...

    def limit_memory(self, megabytes: int) -> None:
        """Change the bound on memory. Raises OutOfRoom where more is in use that can't be let go."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


Models = TypeVar("Models", bound=ReadModels)


class Files(Protocol[Models]):
    """The files that read models live in: a finished one, and one that is being built beside it."""

    def open(self) -> Models | None:
        """Return the finished file, None where there is none or it was damaged and set aside."""
        ...

    def create(self) -> Models:
        """Return a finished file that is empty."""
        ...

    def build(self) -> Models:
        """Return an empty file beside the finished one; what was left of an earlier one is gone."""
        ...

    def copy(self, whole: int, events: int, stopping: Callable[[], bool]) -> Models:
        """Return a copy of a finished file beside it, to be sorted. Closes that file's descriptor, `whole`.

        Takes long, in any thread. Raises OutOfRoom where sorting so many events needs more, Unavailable for a stop.
        """
        ...

    def finish(self, building: Models, old: Models | None) -> Models:
        """Close both files, put the one that was built in the other's place, and return it."""
        ...

    def set_aside(self, models: Models) -> None:
        """Close a damaged file and move it out of the way."""
        ...

    def close(self) -> None:
        """Let another process have the files."""
        ...


_Shown = TypeVar("_Shown", bound=ReadModels, contravariant=True)


class Snapshots(Protocol[_Shown]):
    """Snapshots for readers."""

    def exists(self) -> bool:
        """Return whether readers have a snapshot."""
        ...

    def publish(self, models: _Shown) -> bool:
        """Show readers the present state; return whether they see it. Raises OutOfRoom, Damaged."""
        ...

    def withhold(self, models: _Shown) -> None:
        """Keep the last snapshot, and the files in bounds meanwhile."""
        ...

    def whole(self, models: _Shown) -> int | None:
        """Return a descriptor, to be closed, of a copy of the file that never changes; None where there is none yet."""
        ...

    def release(self) -> None:
        """Let go of the file that was published, before it is closed."""
        ...

    def close(self) -> None:
        """Finish what runs in the background."""
        ...


class Observer:
    """Is told what happens; the metrics of a process derive from it."""

    def folded(self, events: int) -> None:
        """Some events are in the live read models."""

    def published(self, seconds: float) -> None:
        """Readers see a new snapshot."""

    def refused(self) -> None:
        """A snapshot was withheld, since a check complains."""
