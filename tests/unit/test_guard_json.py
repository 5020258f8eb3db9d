"""DuckDB's values as JSON: nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import pytest

from tagstack.adapters.duckdb_guard import Rows
from tagstack.application.statements import Statement


def ask(sql: str, params: Any = None) -> tuple[list[dict[str, str]], list[list[Any]]]:
    """Return columns and rows of a JSON answer."""
    with duckdb.connect() as session:
        session.execute("SET TimeZone = 'UTC'")
        head, *parts = Rows(session, 1000, 1 << 20).chunks(Statement(sql, params), 1)
    return msgspec.json.decode(head)["columns"], [row for part in parts for row in msgspec.json.decode(part)]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("NULL", None),
        ("true", True),
        ("18446744073709551615::UBIGINT", 18446744073709551615),
        ("(-5)::HUGEINT", -5),
        ("sum(5)", 5),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("1.50::DECIMAL(4,2)", 1.5),
        ("1234567890.0123456789::DECIMAL(30,10)", "1234567890.0123456789"),
        ("0.1::DOUBLE", 0.1),
        ("'NaN'::DOUBLE", "NaN"),
        ("'inf'::FLOAT", "Infinity"),
        ("'-inf'::DOUBLE", "-Infinity"),
        ("TIMESTAMP '2026-01-29 13:40:00'", "2026-01-29T13:40:00.000000Z"),
        ("TIMESTAMP_NS '2026-01-29 13:40:00.123456789'", "2026-01-29T13:40:00.123456Z"),
        ("TIMESTAMPTZ '2026-01-29 13:40:00.5+02'", "2026-01-29T11:40:00.500000Z"),
        ("DATE '2026-01-29'", "2026-01-29"),
        ("TIME '13:40:00'", "13:40:00"),
        ("INTERVAL 1 MONTH", "1 month"),
        ("INTERVAL '2 days 3 hours'", "2 days 03:00:00"),
        ("[INTERVAL 30 DAY]", ["30 days"]),
        ("{'a b': INTERVAL 1 MONTH, 'c': 1}", {"a b": "1 month", "c": 1}),
        ("MAP {'a': INTERVAL 1 MONTH}", {"a": "1 month"}),
        ("MAP {1: 'x'}", {"1": "x"}),
        ("MAP {DATE '2026-01-29': NULL}", {"2026-01-29": None}),
        ("""'{"a": [1, null]}'::JSON""", {"a": [1, None]}),
        ("""['{"a": 1}'::JSON, NULL]""", [{"a": 1}, None]),
        ("[TIMESTAMP '2026-01-29 13:40:00', NULL]", ["2026-01-29T13:40:00.000000Z", None]),
        ("[[1], NULL, []]", [[1], None, []]),
        ("[1, 2]::INT[2]", [1, 2]),
        ("row(1, DATE '2026-01-29')", [1, "2026-01-29"]),
        ("'\\x00\\xFF'::BLOB", "AP8="),
        ("'a'::ENUM('a', 'b')", "a"),
        ("'00000000-0000-0000-0000-000000000001'::UUID", "00000000-0000-0000-0000-000000000001"),
        ("'101'::BIT", "101"),
        ("union_value(a := INTERVAL 1 DAY)", "1 day"),
        ("'ü\"\n'", 'ü"\n'),
    ],
)
def test_a_value(sql: str, value: Any) -> None:
    """Every type has one way to be written, alone, in a table's column and beside an INTERVAL."""
    assert ask(f"SELECT {sql}")[1] == [[value]]
    assert ask(f"SELECT v, INTERVAL 1 MONTH AS i FROM (SELECT {sql} AS v)")[1] == [[value, "1 month"]]


def test_columns_keep_their_own_types() -> None:
    """The types that are told are the statement's, even where a value had to be cast."""
    columns, _ = ask('SELECT INTERVAL 1 DAY AS "a ""b", now() AS t, 1 AS one; -- the end')
    assert columns == [
        {"name": 'a "b', "type": "INTERVAL"},
        {"name": "t", "type": "TIMESTAMP WITH TIME ZONE"},
        {"name": "one", "type": "INTEGER"},
    ]


def test_the_order_of_rows_survives_a_cast() -> None:
    """ORDER BY holds where an INTERVAL has to be cast too."""
    rows = ask("SELECT to_days(i::INT), i FROM range(900) r(i) ORDER BY i DESC")[1]
    assert [row[1] for row in rows] == list(range(899, -1, -1))


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("VALUES (1), (2)", [[1], [2]]),
        ("FROM range(2)", [[0], [1]]),
        ("PIVOT (SELECT 'a' AS k, 1 AS v UNION ALL SELECT 'b', 2) ON k USING sum(v)", [[1, 2]]),
        ("DESCRIBE SELECT 1 AS a", [["a", "INTEGER", "YES", None, None, None]]),
        ("SELECT $b, $a", [[2, 1]]),
    ],
)
def test_a_statement_that_only_reads(sql: str, rows: list[list[Any]]) -> None:
    """SELECT in all its dress is allowed."""
    assert ask(sql, {"a": 1, "b": 2} if "$" in sql else None)[1] == rows


def test_explain_is_allowed() -> None:
    """An analyst may look at a plan."""
    assert "Dummy Scan" in ask("EXPLAIN SELECT 1")[1][0][1]
