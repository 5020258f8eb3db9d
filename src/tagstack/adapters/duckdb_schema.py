"""Makes the tables of an empty file of read models, and every view and macro of it anew."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from tagstack.adapters.duckdb_projections import BadProjection, ReadModel
from tagstack.adapters.duckdb_sorting import check_order

_DROPS = """
SELECT DISTINCT 'DROP VIEW main.' || view_name FROM duckdb_views()
 WHERE NOT internal AND database_name = current_database() AND schema_name = 'main'
UNION ALL
SELECT DISTINCT 'DROP MACRO ' || CASE function_type WHEN 'table_macro' THEN 'TABLE ' ELSE '' END
       || 'main.' || function_name
  FROM duckdb_functions()
 WHERE NOT internal AND database_name = current_database() AND schema_name = 'main'
   AND function_type IN ('macro', 'table_macro')
"""


def set_up(con: duckdb.DuckDBPyConnection, models: Sequence[ReadModel]) -> None:
    """Make what is not there yet, within a transaction. Raises BadProjection for SQL that does not run."""
    known = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "checkpoint" not in known:
        for model in models:
            run_file(con, model, "schema")
    for (drop,) in con.execute(_DROPS).fetchall():
        con.execute(drop)
    for model in models:
        run_file(con, model, "views")
    for model in models:
        for table, columns in model.sorted.items():
            check_order(con, table, columns)


def run_file(con: duckdb.DuckDBPyConnection, model: ReadModel, file: str) -> None:
    """Run one of a read model's files. Raises BadProjection naming it where its SQL can't be run."""
    try:
        con.execute(getattr(model, file))
    except duckdb.ProgrammingError as error:
        raise BadProjection(f"projections: {model.name}/{file}.sql: {error}") from error
