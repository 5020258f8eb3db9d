"""What a worker stored itself is passed where followers ignore it, and only while the log can be no other one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tagstack.adapters import nats_own_events
from tagstack.adapters.nats_own_events import OwnEvents
from tagstack.domain.events import Event


class Connected:
    """Of a transport, the number of its connection."""

    connection = 1


def event(matters: bool = False) -> Event:
    """Return what stands for an event."""
    return cast(Event, {"matters": matters})


def ignores(which: Any) -> bool:
    """Return whether followers ignore an event."""
    return not which["matters"]


@pytest.fixture
def own() -> OwnEvents:
    """What was stored after position 10, which was heard."""
    own = OwnEvents(cast(Any, Connected()))
    own.heard(10, 1)
    return own


def test_a_run_is_passed_up_to_what_another_stored(own: OwnEvents) -> None:
    """Position 14 is unknown here, so 15 waits until all up to 14 was heard; what is heard is forgotten."""
    own.stored([event(), event()], 12)
    own.stored([event()], 15)
    own.stored([event()], 13)
    assert own.passed(ignores)
    assert (own.place, own.more()) == (13, True)
    assert not own.passed(ignores)
    own.heard(14, 1)
    assert own.passed(ignores)
    assert (own.place, own.more()) == (15, False)


def test_what_matters_to_followers_is_not_passed(own: OwnEvents) -> None:
    """The run ends before it, and goes on once the server has sent it."""
    own.stored([event(), event(matters=True), event()], 13)
    assert own.passed(ignores)
    assert (own.place, own.more()) == (11, True)
    own.heard(12, 1)
    assert own.passed(ignores)
    assert own.place == 13


def test_the_events_of_images_are_passed_unseen(own: OwnEvents) -> None:
    """None of them is kept, nor shown to who knows the followers.

    Seen to fail when a None ended the run.
    """
    own.stored([None], 11)
    own.stored([event(), None], 13)
    assert own.passed(ignores)
    assert (own.place, own.more()) == (13, False)


def test_nothing_is_remembered_over_a_new_connection(own: OwnEvents) -> None:
    """The log may have lost its tail with its server, and have other events at the same positions."""
    own.stored([event()], 11)
    own._transport.connection = 2  # type: ignore[misc]
    assert not own.passed(ignores)
    assert own.place == 0
    own.stored([event()], 11)
    assert not own.more()
    own.heard(11, 1)  # sent over the connection before
    assert own.place == 0
    own.heard(11, 2)
    own.stored([event()], 12)
    assert own.passed(ignores)
    assert own.place == 12


def test_no_more_is_remembered_than_the_bound(own: OwnEvents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over it all is forgotten: the server sends what is missing."""
    monkeypatch.setattr(nats_own_events, "OWN_EVENTS_MAX", 3)
    for position in range(11, 15):
        own.stored([event()], position)
    assert not own.passed(ignores)
    assert own.more()
