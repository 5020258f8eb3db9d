"""However the log is cut into batches, and whatever arrives twice, SQL equals Python's fold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.application.read_models import LogMessage
from tagstack.domain.times import text_of
from tests.property import folds
from tests.property.folds import Row, Rows
from tests.property.histories import BEGIN, IMAGES, STREAMS, TAGS, History, histories, play

EXAMPLES = 25
MOMENTS = 4
MODELS = discover([builtin_folder()])
FEW = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def messages(history: History) -> list[LogMessage]:
    """Return a history as the log hands it out."""
    return [
        LogMessage(position, "subject", msgspec.json.encode(event), f"id-{position}") for position, event in history
    ]


def in_memory(beforehand_min: int = FileOptions().beforehand_min) -> ReadModelFile:
    """Return read models in a file that is none."""
    options = FileOptions(sorted_rows_min=0, beforehand_min=beforehand_min)
    return ReadModelFile(Path(":memory:"), MODELS, options)


def rows(models: ReadModelFile, query: str, parameters: Sequence[Any] = ()) -> Rows:
    """Return a query's rows by column name."""
    relation = models.connection.execute(query, list(parameters))
    names = [column[0] for column in relation.description]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def same(found: Rows, wanted: Rows, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Assert that both hold the same rows under the same names, in whatever order."""

    def plain(row: Row) -> str:
        return repr(sorted((key, value) for key, value in row.items() if key not in without))

    assert sorted(map(plain, found)) == sorted(map(plain, wanted))


def check_relations(models: ReadModelFile, history: History) -> None:
    """Assert that every relation holds what Python's fold says."""
    for name, fold in folds.RELATIONS.items():
        same(rows(models, f"FROM {name}"), fold(history), {"data", "config"})
    stored = models.connection.execute("SELECT data FROM events ORDER BY position").fetchall()
    assert [json.loads(data) for (data,) in stored] == [folds.data_of(event) for _, event in history]
    assert models.complaints() == []


def check_macros(models: ReadModelFile, history: History) -> None:
    """Assert that every macro answers what Python's fold says."""
    times = sorted({event.time for _, event in history})
    for time in [text_of(BEGIN - timedelta(days=1)), *times[:: len(times) // MOMENTS + 1], *times[-1:]]:
        same(rows(models, "FROM tags_as_of(?)", [time.rstrip("Z")]), folds.tags_as_of(history, time))
    wanted = folds.tag_history(history)
    for stream in STREAMS:
        for tag in TAGS:
            named = {"namespace": stream.namespace, "image_stream": stream.name, "tag": tag}
            of_tag = [row for row in wanted if row | named == row]
            assert rows(models, "FROM tag_stack(?)", [f"{stream}:{tag}"]) == of_tag
    for image in (IMAGES[0], IMAGES[1][:9], "c" * 5, "no such image"):
        same(rows(models, "FROM where_used(?)", [image]), folds.where_used(history, image), {"held_for"})


@pytest.mark.timeout(400)  # many statements, and twice as many where an example fails
@FEW
@given(histories(), st.data())
def test_the_read_models_equal_the_fold(history: History, data: st.DataObject) -> None:
    """Batches may be cut anywhere, overlap what was folded, arrive again or late: the rows stay the same.

    Neither does it matter when the tables are sorted, nor whether a batch is decoded before
    the one ahead of it is folded, or in pieces.

    Seen to fail when `ReadModelFile.fold_decoded` folds what is at or below the checkpoint again.
    """
    arriving = messages(history)
    models = in_memory(data.draw(st.sampled_from([1, FileOptions().beforehand_min]), "beforehand_min"))
    while models.checkpoint.position < (arriving[-1].position if arriving else 0):
        folded = sum(message.position <= models.checkpoint.position for message in arriving)
        start = data.draw(st.integers(0, folded), "start")
        end = data.draw(st.integers(folded + 1, len(arriving)), "end")
        middle = data.draw(st.integers(start, end), "middle")
        pieces = [models.decode(arriving[start:middle]), models.decode(arriving[middle:end])]
        whole = models.join(*pieces) if data.draw(st.booleans(), "joined") else models.decode(arriving[start:end])
        for decoded in [pieces[0], whole]:
            models.fold_decoded(decoded, "log")
        if data.draw(st.booleans(), "sort"):
            models.sort()
        if data.draw(st.booleans(), "look"):
            check_relations(models, history[:end])
            check_macros(models, history[:end])
    models.fold(arriving[: data.draw(st.integers(0, len(arriving)), "late")], "log")
    check_relations(models, history)
    check_macros(models, history)
    models.close()


def test_a_deleted_image_stream_takes_its_tags_at_once() -> None:
    """Whether the events of its tags are in the same batch, in the next one, or not there yet."""
    name = STREAMS[0]
    told = {"target": name, "actor": "ann", "reason": "", "after_s": 1}
    image = {"metadata": {"name": IMAGES[0]}, "dockerImageReference": f"r.example/app@{IMAGES[0]}"}
    mapping = {"kind": "ImageStreamMapping", "metadata": {"name": name.name}, "image": image}
    bodies = [
        *(mapping | {"tag": tag} for tag in TAGS),
        {"kind": "DeleteImageStream", "metadata": {"name": name.name}},
        mapping | {"tag": TAGS[0]},
    ]
    history = asyncio.run(play([told | {"body": body} for body in bodies]))
    arriving = messages(history)
    for cut in range(1, len(history)):
        models = in_memory()
        models.fold(arriving[:cut], "log")
        check_relations(models, history[:cut])
        check_macros(models, history[:cut])
        models.fold(arriving[cut:], "log")
        check_relations(models, history)
        models.close()
