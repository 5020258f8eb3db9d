"""`tagstack sql`: read-only SQL on live data; interactive without a query."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from tagstack.cli import session
from tagstack.cli.failures import UsageError
from tagstack.cli.options import COMMON, Connection, chosen_format

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

FORMATS = ("table", "json", "csv", "parquet")
STDIN = "-"


def sql(
    query: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    min_position: int | None = None,
    output: Annotated[
        Literal["table", "json", "csv", "parquet"] | None, Parameter(name=["--output", "-o"], group=COMMON)
    ] = None,
    connection: Connection = Connection(),  # noqa: B008  frozen
) -> int | None:
    """Ask the read models in SQL (DuckDB's); interactive without a query.

    The answer includes everything that was in the log when the query was sent. Times are UTC.

    Parameters
    ----------
    query
        one statement, or - to read it from stdin
    min_position
        the answer includes this log position
    output
        how to print [TAGSTACK_OUTPUT]; parquet goes to a file or pipe
    """
    form = chosen_format(output, FORMATS)
    if min_position is not None and min_position < 0:
        raise UsageError(f"--min-position must be at least 0, got {min_position}")
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("parquet is no text: send it to a file, as in `-o parquet > rows.parquet`")
    if query is None and not sys.stdin.isatty():
        query = STDIN
    if query is None:
        from tagstack.cli.sql_shell import shell

        shell(connection, form)
        return None
    statement = sys.stdin.read() if query == STDIN else query
    if not statement.strip():
        raise UsageError("the query is empty")

    async def work(client: ServiceClient) -> None:
        from tagstack.cli.sql_output import answer

        position = min_position if min_position is not None else await client.log_position()
        await answer(client, statement, position or 0, form)

    return session.run(connection, work)
