"""What is printed: safe for terminals, short for people, whole for programs."""

from __future__ import annotations

import json

import pytest

from tagstack.cli import sending
from tagstack.cli.listings import age
from tagstack.cli.output import cell, plain, seconds, short
from tagstack.cli.sql_output import unique
from tagstack.cli.tables import ROWS_MEASURED_MAX, JsonRows, Relation, Table
from tagstack.domain.names import ImageStreamName


def test_text_of_others_does_not_steer_the_terminal() -> None:
    """Control characters are shown as a mark; letters of every language stay."""
    assert plain("a\x1b[31mb\nc\x9bü") == "a�[31mb c�ü"


def test_values_as_people_read_them() -> None:
    """Digests are short, times to the second, null a dash, nested values JSON."""
    assert short(f"sha256:{'a' * 64}") == "sha256:aaaaaaaaaaaa…"
    assert (short("plain"), short(None), cell(None), cell(True)) == ("plain", "-", "-", "true")
    assert seconds("2026-01-31T12:00:00.123456Z") == "2026-01-31T12:00:00Z"
    assert cell({"a": [1]}) == '{"a": [1]}'
    assert age("2020-01-01T00:00:00Z").endswith(" days ago") and age(None) == "-"


def test_a_table_is_as_wide_as_its_first_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are aligned; rows after the measured ones are printed at once."""
    table = Table(("A", "B"))
    for number in range(ROWS_MEASURED_MAX + 1):
        table.add((number, "x"))
    assert capsys.readouterr().out.splitlines()[-1] == "1000   x"
    table.end()
    assert capsys.readouterr().out == ""


def test_an_empty_relation_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    """No rows: the columns as a table, an empty list as JSON and YAML, nothing as names."""
    relation = Relation(("image_stream",), ("image_stream",), "{image_stream}")
    for form, out in (("table", "IMAGE STREAM\n"), ("json", "[]\n"), ("yaml", "[]\n"), ("name", "")):
        relation.print([], form)
        assert capsys.readouterr().out == out


def test_json_rows_are_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows printed one by one are one JSON document."""
    rows = JsonRows()
    for number in range(3):
        rows.add({"n": number})
    rows.end()
    assert json.loads(capsys.readouterr().out) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_columns_with_one_name_are_told_apart() -> None:
    """Of two columns with one name none is lost as JSON."""
    assert unique(["a", "b", "a", "a_1", "a"]) == ["a", "b", "a_1", "a_1_1", "a_2"]


def test_lines_of_moves() -> None:
    """A move is told with what was there before, a delete and a reference as what they are."""
    app = ImageStreamName("test", "app")

    def told(image: str | None, previous: str | None) -> str:
        return sending._move(app, {"tag": "v1", "image": image, "previousImage": previous}, False)

    assert told("new", "old") == "test/app:v1 moved to new (was old)"
    assert told("new", None) == "test/app:v1 moved to new (was nothing)"
    assert told(None, "old") == "test/app:v1 deleted (was old)"
    assert told("", "old") == "test/app:v1 refers to a pull spec (was old)"
