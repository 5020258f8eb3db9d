"""Events nested deeper than a decoder bears, as another program may have stored them: unreadable, and nothing worse."""

from __future__ import annotations

import pytest

from tagstack.adapters.backup_files import line_of, record_of
from tagstack.adapters.duckdb_batch import sift
from tagstack.adapters.nats_log import UnreadableEvent, decode
from tagstack.application.read_models import LogMessage
from tagstack.application.records import Record

DEEP = b'{"type":"image_recorded","data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001


def test_an_event_too_deep_to_read_is_named_by_its_position() -> None:
    """A decoder may give up with another error than for bad JSON; whoever reads the log learns which event it was.

    Seen to fail when `nesting.UNREADABLE` does not count RecursionError in.
    """
    with pytest.raises(UnreadableEvent, match="position 7"):
        decode(7, DEEP)


def test_an_event_too_deep_to_read_becomes_a_dead_letter_of_the_projector() -> None:
    """The fold goes on.

    Seen to fail when `nesting.UNREADABLE` does not count RecursionError in.
    """
    found = sift([LogMessage(7, "tagstack.images.x", DEEP)])
    assert [letter.position for letter in found.dead] == [7]


def test_an_event_too_deep_to_read_is_backed_up_byte_for_byte() -> None:
    """A backup has whatever the log has, read or not.

    Seen to fail when `backup_files._is_one_line_of_json` catches no RecursionError: the backup ends there each time.
    """
    record = Record(7, "2026-01-01T00:00:00.000000Z", "tagstack.images.x", {}, DEEP)
    assert record_of(line_of(record)) == record
