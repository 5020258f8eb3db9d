"""SQL as other verbs ask it: rows as dictionaries, the caller's own writes included."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

Row = dict[str, Any]


async def rows_of(client: ServiceClient, sql: str, params: list[Any] | None = None) -> AsyncGenerator[Row, None]:
    """Yield the rows of an answer that includes everything that is in the log now."""
    from tagstack.adapters.nats_sql_client import Question, SqlAnswer

    position = await client.log_position()
    async with SqlAnswer(client, Question(sql, params, min_position=position or 0)) as answer:
        names = [column.name for column in answer.columns]
        async for values in answer.rows():
            yield dict(zip(names, values, strict=True))


async def all_rows(client: ServiceClient, sql: str, params: list[Any] | None = None) -> list[Row]:
    """Return the rows of an answer at once."""
    return [row async for row in rows_of(client, sql, params)]
