"""A file that is built: what some read models leave for its end is what folding them batch by batch makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import ReadModel, built_last
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.application.read_models import LogMessage
from tests.integration.reading import MODELS
from tests.sample_history import history, messages

STORY = messages(history())
BATCH = 7
PEAK = ReadModel(
    name="peak",
    schema="CREATE TABLE peak (position UBIGINT, tags BIGINT);",
    apply="INSERT INTO peak SELECT max(position), (SELECT count(*) FROM Current_Tags) FROM batch;",
)

SHOWN = ReadModel(name="shown", views="CREATE OR REPLACE VIEW main.shown AS FROM current_tags;")
OVER_A_VIEW = replace(PEAK, apply=PEAK.apply.replace("Current_Tags", "shown"))


def tables(file: ReadModelFile) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table, in one order."""
    names = file.connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()
    return {name: file.connection.execute(f"FROM {name} ORDER BY ALL").fetchall() for (name,) in names}


def fold(file: ReadModelFile, stored: list[LogMessage]) -> None:
    """Fold messages in small batches."""
    for first in range(0, len(stored), BATCH):
        file.fold(stored[first : first + BATCH], "log")


def built(path: Path, models: list[ReadModel], completed_at: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return what a build makes of the story that reaches the log's end at a position, and goes on after it."""
    file = ReadModelFile(path, models, FileOptions(building=True))
    fold(file, STORY[:completed_at])
    file.complete()
    fold(file, STORY[completed_at:])
    file.complete()
    found = tables(file)
    file.close()
    return found


def folded(models: list[ReadModel]) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the story is in a file that is never built."""
    file = ReadModelFile(Path(":memory:"), models)
    fold(file, STORY)
    found = tables(file)
    file.close()
    return found


@pytest.mark.parametrize("completed_at", [0, 1, 45, 90, 140, len(STORY)])
def test_a_build_ends_with_the_rows_that_every_batch_would_have_made(tmp_path: Path, completed_at: int) -> None:
    """Wherever the build reached the log's end: deletes, holds, rollbacks and image streams made anew before and after.

    Seen to fail when `tag_moves` is left out of build.sql, when it counts no deleted tags, and when `complete` goes on
    without the statements that were left out.
    """
    assert built(tmp_path / "building.duckdb", MODELS, completed_at) == folded(MODELS)


def test_a_read_model_that_another_one_reads_is_folded_batch_by_batch(tmp_path: Path) -> None:
    """What its fold sees in a build is what it sees in a live file, over a view too, with or without `-- needs:`.

    Seen to fail when `built_last` takes every read model that has a build.sql, and when it looks for tables only.
    """
    assert [model.name for model in built_last(MODELS)] == ["current_tags"]
    for number, models in enumerate(([*MODELS, PEAK], [*MODELS, SHOWN, OVER_A_VIEW])):
        assert built_last(models) == []
        assert built(tmp_path / f"{number}.duckdb", models, 6 * BATCH) == folded(models)


def test_nothing_is_left_out_of_a_file_that_goes_on(tmp_path: Path) -> None:
    """A copy that is to be sorted has its rows already, and is folded as the live file is.

    Seen to fail when only `FileOptions.building` counts.
    """
    path = tmp_path / "building.duckdb"
    file = ReadModelFile(path, MODELS, FileOptions())
    fold(file, STORY[:45])
    file.close()
    copy = ReadModelFile(path, MODELS, FileOptions(building=True))
    fold(copy, STORY[45:])
    assert tables(copy) == folded(MODELS)
    copy.close()
