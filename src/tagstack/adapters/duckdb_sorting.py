"""Sorts tables of a file that is being built, so that a lookup of one tag reads few groups of rows.

DuckDB knows the least and the greatest value of each column in each group of 122,880 rows, and skips the
groups that can't hold what is asked for. What is folded after the sorting is appended as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from tagstack.adapters.duckdb_projections import BadProjection


def check_order(con: duckdb.DuckDBPyConnection, table: str, columns: str) -> None:
    """Find out whether a table can be sorted so. Raises BadProjection, or duckdb's error that says why not."""
    con.execute(f"FROM main.{table} ORDER BY {columns} LIMIT 0")
    if con.execute("FROM duckdb_indexes() WHERE table_name = ?", [table]).fetchall():
        raise BadProjection(f"projections: {table} has an index, so it can't be sorted")


def sort_table(con: duckdb.DuckDBPyConnection, table: str, columns: str) -> None:
    """Write a table anew in the order of its columns; where that fails, it is as it was. Raises duckdb's errors."""
    ((schema,),) = con.execute("SELECT sql FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall()
    with _settings(con):
        con.execute("BEGIN")
        try:
            con.execute(f"ALTER TABLE main.{table} RENAME TO unsorted")
            con.execute(schema)
            con.execute(f"INSERT INTO main.{table} FROM unsorted ORDER BY {columns}")
            con.execute("DROP TABLE unsorted")
            con.execute("COMMIT")
        except BaseException:
            con.execute("ROLLBACK")
            raise


@contextmanager
def _settings(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let rows go into the file at once, since in the write-ahead log they are in memory too; and tell progress."""
    con.execute("SET enable_optimistic_write = true")
    con.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
    try:
        yield
    finally:
        con.execute("SET enable_optimistic_write = false; SET enable_progress_bar = false")
