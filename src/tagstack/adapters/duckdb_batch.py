"""From messages of the log to the relation `batch`: one row per event, decoded by one statement.

Python checks every message first, against the types that the write side stores, so that what SQL
decodes is known to be an event; what is none becomes a dead letter. Many events are decoded beforehand by
a DuckDB that knows no file, which another thread may use while the batch before is folded.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import accumulate
from typing import Any, get_args, overload

import duckdb
import msgspec
import pyarrow as pa  # type: ignore[import-untyped]

from tagstack.application.read_models import DeadLetter, Decoded, LogMessage
from tagstack.domain.errors import UnreadableEvent
from tagstack.domain.events import AnyEvent
from tagstack.domain.reading import read_event

_HEAD = {
    "image": "VARCHAR",
    "pullSpec": "VARCHAR",
    "generation": "BIGINT",
    "since": "TIMESTAMP",
    "actor": "VARCHAR",
    "origin": "VARCHAR",
    "cause": "VARCHAR",
    "reason": "VARCHAR",
    "causedBy": "UBIGINT",
    "position": "UBIGINT",
    "restores": "UBIGINT",
}
_HOLD = {"since": "TIMESTAMP", "actor": "VARCHAR", "reason": "VARCHAR", "withheldCount": "BIGINT"}
_LAYER = dict.fromkeys(("name", "size", "mediaType"), "VARCHAR")
_CHILD = dict.fromkeys(("digest", "architecture", "os", "variant", "manifestSize"), "VARCHAR")
_METADATA = dict.fromkeys(("Architecture", "Os", "Created", "Size"), "VARCHAR") | {"Config": "JSON"}
_RECORDED = {  # texts, since an image may hold anything
    "dockerImageReference": "VARCHAR",
    "dockerImageManifestMediaType": "VARCHAR",
    "dockerImageMetadata": _METADATA,
    "dockerImageLayers": [_LAYER],
    "dockerImageManifests": [_CHILD],
}
_MAP = "MAP(VARCHAR, VARCHAR)"

# column: (field on the wire, type). A field that an event does not have is null; what is rare is read from `data`
BATCH_COLUMNS: dict[str, tuple[str, object]] = {
    "time": ("time", "TIMESTAMP"),
    "type": ("type", "VARCHAR"),
    "namespace": ("namespace", "VARCHAR"),
    "image_stream": ("imageStream", "VARCHAR"),
    "tag": ("tag", "VARCHAR"),
    "image": ("image", "VARCHAR"),
    "previous_image": ("previousImage", "VARCHAR"),
    "pull_spec": ("pullSpec", "VARCHAR"),
    "generation": ("generation", "BIGINT"),
    "origin": ("origin", "VARCHAR"),
    "actor": ("actor", "VARCHAR"),
    "reason": ("reason", "VARCHAR"),
    "cause": ("cause", "VARCHAR"),
    "caused_by": ("causedBy", "UBIGINT"),
    "number": ("number", "INTEGER"),
    "last": ("last", "BOOLEAN"),
    "uid": ("uid", "VARCHAR"),
    "created": ("created", "TIMESTAMP"),
    "labels": ("labels", _MAP),
    "annotations": ("annotations", _MAP),
    "lookup_local": ("lookupLocal", "BOOLEAN"),
    "head": ("head", _HEAD),
    "hold": ("hold", _HOLD),
    "recorded": ("data", _RECORDED),
}

_SCHEMA = msgspec.json.encode(dict(BATCH_COLUMNS.values())).decode()
_SELECTED = ", ".join(f'event."{field}" AS {column}' for column, (field, _) in BATCH_COLUMNS.items())
_DECODED = f"""
SELECT position, {_SELECTED}, data
  FROM (SELECT position, data, from_json(data, '{_SCHEMA}') AS event FROM arrived)
"""  # noqa: S608 made of the constants above
_WITHOUT_DATA = f"SELECT * EXCLUDE data FROM ({_DECODED})"  # noqa: S608 the same

EVENT_TYPES = frozenset(str(event.__struct_config__.tag) for event in get_args(AnyEvent))


class Sifted(msgspec.Struct):
    """Messages told apart: those that are events, the types among them, and a dead letter for each other."""

    events: list[LogMessage] = []
    types: frozenset[str] = frozenset()
    dead: list[DeadLetter] = []


def sift(messages: Sequence[LogMessage]) -> Sifted:
    """Return the messages that are events, and a dead letter for each that is none."""
    found = Sifted()
    classes = set()
    for message in messages:
        try:
            event = read_event(message.body)
        except UnreadableEvent as error:
            found.dead.append(dead_letter(message, str(error)))
        else:
            found.events.append(message)
            classes.add(type(event))
    found.types = frozenset(str(known.__struct_config__.tag) for known in classes)
    return found


def dead_letter(message: LogMessage, error: str) -> DeadLetter:
    """Return the dead letter of a message; bytes that are not UTF-8 are shown as \\xNN."""
    return DeadLetter(message.position, message.subject, message.body.decode(errors="backslashreplace"), error)


class Packed(Sequence[LogMessage]):
    """Events as columns, which take less memory than messages; all but the first and the last are made anew."""

    def __init__(self, events: Sequence[LogMessage], rows: Any) -> None:
        self._first, self._last = events[0], events[-1]
        self._rows = rows.select(["position", "data"])
        self._subjects = ["\n".join(event.subject for event in events)]
        self._identities = ["\n".join(event.identity for event in events)]

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    @overload
    def __getitem__(self, index: int) -> LogMessage: ...
    @overload
    def __getitem__(self, index: slice) -> list[LogMessage]: ...
    def __getitem__(self, index: int | slice) -> LogMessage | list[LogMessage]:
        if index == 0:
            return self._first
        return self._last if index == -1 else list(self)[index]

    def __iter__(self) -> Iterator[LogMessage]:
        subjects, identities = ("\n".join(column).split("\n") for column in (self._subjects, self._identities))
        columns = self._rows.to_pydict()
        bodies = (body.encode() for body in columns["data"])
        return map(LogMessage, columns["position"], subjects, bodies, identities)

    def joined(self, other: Packed) -> Packed:
        """Return these events and those that come after them."""
        both = copy(self)
        both._last = other._last
        both._rows = pa.concat_tables([self._rows, other._rows])
        both._subjects = self._subjects + other._subjects
        both._identities = self._identities + other._identities
        return both


class Decoder:
    """Makes messages ready to be folded, whatever thread asks for it."""

    def __init__(self, beforehand_min: int) -> None:
        self._beforehand_min = beforehand_min
        self._con: duckdb.DuckDBPyConnection | None = None  # opened for the first batch that is large enough
        self._turn = threading.Lock()

    def decode(self, messages: Sequence[LogMessage]) -> Decoded:
        """Return messages of ascending position, sifted; decoded too where they are many."""
        sifted = sift(messages)
        arrived = _arrived(sifted.events)
        many = len(sifted.events) >= self._beforehand_min
        kept = Packed(messages, arrived) if many and not sifted.dead else messages
        rows = self._beforehand(arrived) if many else None
        size = sum(len(message.body) for message in messages)
        done = rows is not None
        return Decoded(kept, size, sifted.types, tuple(sifted.dead), rows if done else arrived, done)

    def close(self) -> None:
        """Decode no more."""
        if self._con is not None:
            self._con.close()

    def _beforehand(self, arrived: Any) -> Any:
        """Return the rows of `batch`, None where an event can't be decoded: the fold finds out which is to blame."""
        with self._turn:
            con = self._con = self._con or _connect()
            con.register("arrived", arrived)
            try:
                return con.sql(_WITHOUT_DATA).to_arrow_table().append_column("data", arrived["data"])
            except duckdb.Error:
                return None
            finally:
                con.unregister("arrived")


def _connect() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config={"threads": 1, "python_enable_replacements": "false"})
    con.execute("SET GLOBAL TimeZone = 'UTC'")
    return con


def join(first: Decoded, second: Decoded) -> Decoded:
    """Return what comes one after the other as one batch."""
    if isinstance(first.messages, Packed) and isinstance(second.messages, Packed):
        messages: Sequence[LogMessage] = first.messages.joined(second.messages)
    else:
        messages = [*first.messages, *second.messages]
    done = first.done and second.done
    rows = [part.rows if done else part.rows.select(["position", "data"]) for part in (first, second)]
    types, dead = first.types | second.types, first.dead + second.dead
    return Decoded(messages, first.size + second.size, types, dead, pa.concat_tables(rows), done)


@contextmanager
def as_batch(con: duckdb.DuckDBPyConnection, decoded: Decoded) -> Iterator[None]:
    """Let the temporary relation `batch` be some events, within a transaction; its rollback does the rest."""
    con.register("arrived", decoded.rows)
    kind, events = ("VIEW", "FROM arrived") if decoded.done else ("TABLE", _DECODED)
    con.execute(f"CREATE TEMP {kind} batch AS {events}")
    yield
    con.execute(f"DROP {kind} batch")
    con.unregister("arrived")


def _arrived(events: Sequence[LogMessage]) -> Any:
    """Return positions and bodies as an Arrow table; given lists, Arrow imports pandas to look at them."""
    positions = pa.py_buffer(array("Q", [event.position for event in events]))
    bodies = [event.body for event in events]
    ends = pa.py_buffer(array("i", accumulate(map(len, bodies), initial=0)))
    text = pa.StringArray.from_buffers(len(bodies), ends, pa.py_buffer(b"".join(bodies)))
    # Arrow's JSON type: the bodies are JSON already, a cast would parse every one of them again
    data = pa.ExtensionArray.from_storage(pa.json_(pa.string()), text)
    return pa.table({"position": pa.Array.from_buffers(pa.uint64(), len(bodies), [None, positions]), "data": data})
