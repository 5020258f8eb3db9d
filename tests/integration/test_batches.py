"""Batches of events: packed into columns, joined, and taken apart again where one of them can't be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagstack.adapters.duckdb_batch import Decoder
from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import ReadModel
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.application.read_models import Checkpoint, Decoded, LogMessage, OutOfRoom
from tests.integration.reading import MODELS, tagged

EVENTS = [tagged(position, f"v{position}", actor="jürgen") for position in range(1, 8)]
POISON = LogMessage(3, "tagstack.events.p.api.tag.latest", b"\xff no event", "poison")
PICKY = ReadModel(
    name="picky",
    schema="CREATE TABLE picky (position UBIGINT, tag VARCHAR CHECK (tag <> 'v4'));",
    apply="INSERT INTO picky SELECT position, tag FROM batch;",
)


@pytest.fixture
def models() -> Iterator[ReadModelFile]:
    """Return read models of which one does not take the tag v4; batches of any size are decoded beforehand."""
    file = ReadModelFile(Path(":memory:"), [*MODELS, PICKY], FileOptions(beforehand_min=1))
    yield file
    file.close()


def joined(models: ReadModelFile, messages: list[LogMessage], cuts: list[int]) -> Decoded:
    """Return messages as a batch that was decoded in pieces."""
    pieces = [messages[first:end] for first, end in zip([0, *cuts], [*cuts, len(messages)], strict=True)]
    batch = models.decode(pieces[0])
    for piece in pieces[1:]:
        batch = models.join(batch, models.decode(piece))
    return batch


@pytest.mark.parametrize("cuts", [[], [1], [2, 3, 6]])
def test_packed_messages_come_back_as_they_were(models: ReadModelFile, cuts: list[int]) -> None:
    """All of them, the first and the last at hand, whatever pieces they were decoded in.

    Seen to fail when `Packed.joined` leaves out the subjects of the second.
    """
    batch = joined(models, EVENTS, cuts)
    assert [type(batch.messages).__name__, batch.done, len(batch.messages)] == ["Packed", True, len(EVENTS)]
    assert list(batch.messages) == EVENTS
    assert [batch.messages[0], batch.messages[-1]] == [EVENTS[0], EVENTS[-1]]
    assert batch.messages[2:5] == EVENTS[2:5]
    assert batch.size == sum(len(event.body) for event in EVENTS)


def test_a_joined_batch_keeps_what_is_no_event(models: ReadModelFile) -> None:
    """It becomes a dead letter, and the events around it are folded.

    Seen to fail when `join` forgets the letters of the second, and when `Decoder.decode` packs messages with one.
    """
    batch = joined(models, [*EVENTS[:2], POISON, *EVENTS[4:]], [1])
    assert models.fold_decoded(batch, "log") == 6
    assert models.connection.execute("SELECT position FROM events").fetchall() == [(1,), (2,), (5,), (6,), (7,)]
    assert models.connection.execute("SELECT position, subject, payload FROM dead_letters").fetchall() == [
        (POISON.position, POISON.subject, "\\xff no event")
    ]


@pytest.mark.parametrize("cuts", [[], [2, 5]])
def test_a_row_that_is_not_taken_costs_one_event_of_a_packed_batch(models: ReadModelFile, cuts: list[int]) -> None:
    """It is found by halves, and told with its subject and its body; the checkpoint is the last event's.

    Seen to fail when `ReadModelFile._fold` does not halve a batch.
    """
    assert models.fold_decoded(joined(models, EVENTS, cuts), "log") == 7
    assert models.connection.execute("SELECT list(position) FROM events").fetchall() == [([1, 2, 3, 5, 6, 7],)]
    [(position, subject, payload, error)] = models.connection.execute("FROM dead_letters").fetchall()
    assert (position, subject, json.loads(payload)) == (4, EVENTS[3].subject, json.loads(EVENTS[3].body))
    assert "CHECK" in error
    assert models.checkpoint == ReadModelFile._read_checkpoint(models)
    assert (models.checkpoint.position, models.checkpoint.event_id) == (7, EVENTS[-1].identity)


def test_a_batch_that_arrives_again_is_folded_from_where_it_is_new(models: ReadModelFile) -> None:
    """Packed or not, what the checkpoint has is left out.

    Seen to fail when `ReadModelFile.fold_decoded` looks at the last message instead of the first.
    """
    models.fold_decoded(joined(models, EVENTS[:3], [1]), "log")
    assert models.fold_decoded(joined(models, EVENTS, [2]), "log") == 4
    assert models.fold_decoded(joined(models, EVENTS, [2]), "log") == 0
    assert models.connection.execute("SELECT count(*), max(position) FROM events").fetchall() == [(6, 7)]


def test_a_batch_that_finds_no_memory_waits_for_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file that is built has not taken yet is taken first; the batch stays whole.

    Seen to fail when `ReadModelFile._fold` halves it at once.
    """
    file = ReadModelFile(tmp_path / "building.duckdb", MODELS, FileOptions(building=True))
    store, sizes = ReadModelFile._store, list[int]()

    def short_of_memory(models: ReadModelFile, decoded: Decoded, after: Checkpoint) -> None:
        sizes.append(len(decoded.messages))
        if models._waiting_bytes:
            raise OutOfRoom("too little memory")
        store(models, decoded, after)

    file.fold(EVENTS[:1], "log")
    monkeypatch.setattr(ReadModelFile, "_store", short_of_memory)
    file.fold(EVENTS[1:], "log")
    assert sizes == [6, 6]
    assert file.connection.execute("SELECT count(*) FROM events").fetchall() == [(7,)]
    file.close()


def test_few_events_are_left_to_the_fold() -> None:
    """Handing over their rows takes longer than decoding them there.

    Seen to fail when `Decoder.decode` does not look at their number.
    """
    decoder = Decoder(8)
    assert [decoder.decode(EVENTS).done, decoder.decode([*EVENTS, tagged(8)]).done] == [False, True]
    decoder.close()
