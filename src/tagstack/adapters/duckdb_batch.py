"""From messages of the log to the relation `batch`: one row per event, decoded by one statement.

Python checks every message first, against the types that the write side stores, so that what SQL
decodes is known to be an event; what is none becomes a dead letter.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, get_args

import duckdb
import msgspec
import pyarrow as pa  # type: ignore[import-untyped]

from tagstack.application.read_models import DeadLetter, LogMessage
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
}

_SCHEMA = msgspec.json.encode(dict(BATCH_COLUMNS.values())).decode()
_SELECTED = ", ".join(f'event."{field}" AS {column}' for column, (field, _) in BATCH_COLUMNS.items())
_MAKE_BATCH = f"""
CREATE OR REPLACE TEMP TABLE batch AS
SELECT position, {_SELECTED}, data
  FROM (SELECT position, data, from_json(data, '{_SCHEMA}') AS event FROM arrived)
"""  # noqa: S608 made of the constants above

EVENT_TYPES = frozenset(str(event.__struct_config__.tag) for event in get_args(AnyEvent))


class Sifted(msgspec.Struct):
    """Messages told apart: those that are events, the types among them, and a dead letter for each other."""

    events: list[LogMessage] = []
    types: set[str] = set()
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
    found.types = {str(known.__struct_config__.tag) for known in classes}
    return found


def dead_letter(message: LogMessage, error: str) -> DeadLetter:
    """Return the dead letter of a message; bytes that are not UTF-8 are shown as \\xNN."""
    return DeadLetter(message.position, message.subject, message.body.decode(errors="backslashreplace"), error)


def make_batch(con: duckdb.DuckDBPyConnection, events: Sequence[LogMessage]) -> None:
    """Fill the temporary relation `batch` with some events."""
    con.register("arrived", _arrived(events))
    try:
        con.execute(_MAKE_BATCH)
    finally:
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
