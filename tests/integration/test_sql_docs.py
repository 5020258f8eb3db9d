"""docs/sql.md and the sample behind it: what they tell is what the read models are and answer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tagstack.adapters.duckdb_guard import ALLOWED
from tagstack.apps import sql_docs
from tests import sample_history

DOCS = sample_history.SAMPLE.parent
QUESTIONS_MIN = 20
SAMPLE_BYTES_MAX = 300_000


@pytest.fixture(scope="module")
def told() -> duckdb.DuckDBPyConnection:
    """Return the story, told and folded."""
    return sample_history.folded().connection


def test_the_page_is_what_the_read_models_tell_and_answer() -> None:
    """Who changes a read model, a question or the sample runs `python -m tagstack.apps.sql_docs docs/sql.md`."""
    wanted = sql_docs.written(DOCS)
    assert {name: (DOCS / name).read_text() for name in wanted} == wanted


@pytest.mark.parametrize("name", sample_history.EXPORTED)
def test_the_shipped_sample_is_the_story(told: duckdb.DuckDBPyConnection, name: str, tmp_path: Path) -> None:
    """Who changes the story or a rule of the decider renews the sample: `python -m tests.sample_history`."""
    sample_history.export(told, tmp_path)
    fresh, shipped = tmp_path / f"{name}.parquet", sample_history.SAMPLE / f"{name}.parquet"
    assert told.execute(f"FROM '{shipped}'").fetchall() == told.execute(f"FROM '{fresh}'").fetchall()
    assert told.execute(f"DESCRIBE FROM '{shipped}'").fetchall() == told.execute(f"DESCRIBE FROM '{fresh}'").fetchall()


def test_the_sample_is_small() -> None:
    """A repository is no place for data: everything together stays below the bound."""
    assert sum(path.stat().st_size for path in sample_history.SAMPLE.iterdir()) < SAMPLE_BYTES_MAX


def test_every_relation_column_and_parameter_is_explained(told: duckdb.DuckDBPyConnection) -> None:
    """An analyst finds a comment wherever they look, in the database as on the page."""
    silent = []
    for relation in sql_docs.relations(told):
        silent += [] if relation.comment else [relation.name]
        silent += [
            f"{relation.name}.{each.name}"
            for each in [*relation.columns, *(relation.parameters or [])]
            if not each.comment
        ]
    assert silent == []


def test_every_question_is_one_that_the_service_answers(told: duckdb.DuckDBPyConnection) -> None:
    """Each question is a single statement of a kind that strangers may run, and has an answer in the sample."""
    asked = sql_docs.questions(DOCS / "questions")
    assert len(asked) >= QUESTIONS_MIN
    for question in asked:
        (statement,) = duckdb.extract_statements(question.sql)
        assert statement.type.name in ALLOWED, question.words
        assert told.execute(question.sql).fetchall(), question.words
