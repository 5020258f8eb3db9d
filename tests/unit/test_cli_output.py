"""What is printed: safe for terminals, short for people, whole for programs."""

from __future__ import annotations

import json
import sys

import pytest

from tagstack.cli import sending
from tagstack.cli.fitting import Narrow, cut
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


DIGEST = f"sha256:{'a' * 64}"
MOVE = {
    "stack_position": 1,
    "image": DIGEST,
    "valid_from": "2026-01-31T12:00:00.5Z",
    "valid_to": "2026-02-28T12:00:00.5Z",
    "actor": "ann",
    "origin": "mapping",
}
HISTORY = ("stack_position", "image", "valid_from", "valid_to", "origin", "actor", "reason")


def on_terminal(patch: pytest.MonkeyPatch, width: int) -> None:
    """Let stdout be a terminal that is so wide."""
    patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    patch.setenv("NO_COLOR", "1")
    patch.setenv("COLUMNS", str(width))


def printed(capsys: pytest.CaptureFixture[str], form: str) -> list[str]:
    """Return the lines of a history with one long reason."""
    rows = [MOVE | {"reason": "a long story about a rollback that nobody needs to know"}]
    Relation(HISTORY, HISTORY, "{image}", ("valid_to", "origin")).print(rows, form)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 120, 200])
def test_a_table_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No line is wider; times stay whole, digests keep what tells them apart, columns stand under their heads."""
    on_terminal(monkeypatch, width)
    head, row = printed(capsys, "table")
    assert len(head) <= width and len(row) <= width
    assert "2026-01-31T12:00:00Z" in row and "sha256:aaaaaaa" in row and "ann" in row
    assert row.index("sha256") == head.index("IMAGE") and row.index("a long") == head.index("REASON")
    assert ("VALID TO" in head) == (width >= 90)


def test_wide_and_piped_tables_are_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to a file is cut nowhere, and `-o wide` has whole digests on a terminal, too."""
    assert printed(capsys, "table")[1].endswith("needs to know")
    on_terminal(monkeypatch, 60)
    wide = printed(capsys, "wide")[1]
    assert DIGEST in wide and wide.endswith("needs to know")


def test_a_pull_spec_keeps_its_name_and_digest() -> None:
    """What is cut is the registry, then the rest of the digest; other texts lose their end."""
    spec = f"172.30.56.218:5000/test/app@{DIGEST}"
    assert cut(spec, 32) == "…0/test/app@sha256:aaaaaaaaaaaa…"
    assert cut(spec, 99) == spec
    assert (cut("a long reason", 8), cut("short", 8), cut("sha256:aaaa…", 9)) == ("a long …", "short", "sha256:a…")


def test_rows_too_wide_for_any_terminal_are_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even a part of each column fits, each value has a line of its own, and none is cut."""
    on_terminal(monkeypatch, 40)
    table = Table(("one", "two", "three"), narrow=Narrow(least=20, records=True))
    table.add(("x" * 30, "y" * 30, None))
    table.end()
    assert capsys.readouterr().out.splitlines() == ["-- 1", f"one     {'x' * 30}", f"two     {'y' * 30}", "three   -"]


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
