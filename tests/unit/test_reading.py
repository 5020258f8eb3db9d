"""Reading events: what commands take for an event the read models can store, and the other way round."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tagstack.adapters.duckdb_batch import Decoder, as_batch, sift
from tagstack.adapters.nats_log import decode
from tagstack.application.read_models import LogMessage
from tagstack.domain.errors import UnreadableEvent

EVENTS = Path(__file__).parent.parent / "golden/events/v1"
BAD_TIMES = [
    *("", "yesterday", "infinity", "2026-02-30T10:00:00.000000Z", "2026-01-01T24:00:00.000000Z", "2026-01-01"),
    *("2026-W01-1T10:00:00Z", "2026-01-01T10:00:00+02:00", "2026-01-01T10:00:00.1234567Z", "٢026-01-01T10:00:00Z"),
]
GOOD_TIMES = ["2026-01-01T10:00:00Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]
FIELDS: list[tuple[str, str, list[Any], list[Any]]] = [
    *((f"{name}.json", "time", BAD_TIMES, GOOD_TIMES) for name in ("image_recorded", "image_tagged", "tag_deleted")),
    ("image_stream_created.json", "created", BAD_TIMES, GOOD_TIMES),
    ("image_tagged.json", "head.since", BAD_TIMES, GOOD_TIMES),
    ("tag_held.json", "hold.since", BAD_TIMES, GOOD_TIMES),
    ("image_signed.json", "number", [-1, 2**31], [0, 2**31 - 1]),
    *(
        (f"{event}.json", field, [-1, 2**63, 2**70], [0, 2**63 - 1])
        for event, fields in {
            "image_tagged": "causedBy generation head.generation head.position head.causedBy head.restores",
            "image_stream_updated": "causedBy generation",
            "tag_held": "hold.withheldCount",
        }.items()
        for field in fields.split()
    ),
]


def with_value(event: str, field: str, value: Any) -> bytes:
    """Return the body of a stored event with another value in one field."""
    body = msgspec.json.decode((EVENTS / event).read_bytes())
    *outer, name = field.split(".")
    (body[outer[0]] if outer else body)[name] = value
    return msgspec.json.encode(body)


@pytest.mark.parametrize(("event", "field", "bad", "good"), FIELDS)
def test_commands_and_read_models_refuse_the_same_values(
    event: str, field: str, bad: list[Any], good: list[Any]
) -> None:
    """A time that is none, or a number that no column takes, is a dead letter, and unreadable for commands.

    Seen to fail when `reading.read_event` does not check values.
    """
    for value in bad:
        body = with_value(event, field, value)
        with pytest.raises(UnreadableEvent, match=f"position 7 can't be read: {field} must be"):
            decode(7, body)
        assert [letter.position for letter in sift([LogMessage(7, "tagstack.x", body)]).dead] == [7]
    decoder = Decoder(2)
    with closing(decoder), duckdb.connect() as con:
        for value in good:
            body = with_value(event, field, value)
            decode(7, body)
            with as_batch(con, decoder.decode([LogMessage(7, "tagstack.x", body)])):
                assert con.execute("SELECT count(*) FROM batch").fetchall() == [(1,)]


@pytest.mark.parametrize("field", ["head", "pullSpec"])
def test_a_tag_that_points_at_an_image_says_where_it_is_and_since_when(field: str) -> None:
    """Such an event without its head or its pull spec is a dead letter, and unreadable for commands.

    Seen to fail when `reading.read_event` does not ask for both: the event is stored, and a build does not end.
    """
    body = with_value("image_tagged.json", field, None)
    with pytest.raises(UnreadableEvent, match="head and pullSpec are required where image is 'sha256:"):
        decode(7, body)
    assert [letter.position for letter in sift([LogMessage(7, "tagstack.x", body)]).dead] == [7]
