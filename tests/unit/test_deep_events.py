"""Events nested deeper than a decoder bears, as another program may have stored them: unreadable, and nothing worse."""

from __future__ import annotations

import pytest

from tagstack.adapters.duckdb_batch import sift
from tagstack.adapters.nats_log import UnreadableEvent, decode
from tagstack.application.read_models import LogMessage

DEEP = b'{"type":"image_recorded","data":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001


def test_an_event_too_deep_to_read_is_named_by_its_position() -> None:
    """Broken on purpose: without RecursionError among what `decode` takes for unreadable, it goes through."""
    with pytest.raises(UnreadableEvent, match="position 7"):
        decode(7, DEEP)


def test_an_event_too_deep_to_read_becomes_a_dead_letter_of_the_projector() -> None:
    """The fold goes on. Broken on purpose: without RecursionError in `sift` the projector dies of it each time."""
    found = sift([LogMessage(7, "tagstack.images.x", DEEP)])
    assert [letter.position for letter in found.dead] == [7]
