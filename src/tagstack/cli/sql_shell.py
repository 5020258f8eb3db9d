"""The interactive SQL shell: history, completion of relations and columns, `.tables`, `.schema`, timing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from tagstack.application.quoting import literal
from tagstack.cli import session
from tagstack.cli.failures import complain, report
from tagstack.cli.options import Connection
from tagstack.cli.output import say

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

PROMPT, CONTINUED = "tagstack> ", "     ...> "
HELP = """.tables            relations, views and macros
.schema [NAME]     columns, or a macro's parameters, and what they mean
.mode FORMAT       table, json or csv
.timing on|off     how long each statement took
.quit              leave (Ctrl-D does too)
A statement ends with `;`. Ctrl-C cancels the one that runs."""
TABLES = """
SELECT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind
  FROM information_schema.tables WHERE table_schema = 'main'
 UNION ALL
SELECT DISTINCT function_name, 'macro' FROM duckdb_functions()
 WHERE NOT internal AND function_type = 'table_macro' AND schema_name = 'main'
 ORDER BY kind DESC, name"""
COLUMNS = """
SELECT table_name AS relation, column_name AS name, data_type AS type, comment
  FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' ORDER BY table_name, column_index"""
PARAMETERS = """
SELECT function_name AS macro, unnest(parameters) AS parameter, comment
  FROM duckdb_functions() WHERE NOT internal AND function_type = 'table_macro' AND schema_name = 'main'"""
KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "ON", "USING", "HAVING", "WITH", "AS"),
    *("AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "DISTINCT"),
    *("count(*)", "min(", "max(", "sum(", "avg(", "DESCRIBE", "SUMMARIZE", "EXPLAIN", "INTERVAL"),
)


class Shell:
    """One interactive session."""

    def __init__(self, client: ServiceClient, form: str) -> None:
        self._client = client
        self._form = form
        self._timing = True

    async def run(self) -> None:
        """Read statements and print their answers until the end of input."""
        prompts: PromptSession[str] = PromptSession(
            history=_history(),
            completer=WordCompleter(await self._words(), ignore_case=True),
            complete_while_typing=False,
        )
        say(f"tagstack SQL on {self._client.url}; `.help` tells more, Ctrl-D leaves")
        waiting = ""
        while True:
            try:
                line = await prompts.prompt_async(CONTINUED if waiting else PROMPT)
            except KeyboardInterrupt:
                waiting = ""
                continue
            except EOFError:
                return
            if not waiting and line.strip().startswith("."):
                if not await self._dot(line.split()):
                    return
                continue
            waiting = f"{waiting}\n{line}".strip()
            if waiting.endswith(";"):
                statement, waiting = waiting.rstrip("; \n"), ""
                if statement:
                    await self.statement(statement)

    async def _dot(self, words: list[str]) -> bool:
        """Carry out a dot command; return whether the session goes on."""
        match words:
            case [".quit" | ".exit" | ".q"]:
                return False
            case [".tables"]:
                await self.statement(TABLES)
            case [".schema"]:
                await self.statement(COLUMNS)
            case [".schema", name]:
                await self._schema(name)
            case [".mode", "table" | "json" | "csv" as form]:
                self._form = form
            case [".mode", "parquet"]:
                complain("parquet is no text: leave, and run `tagstack sql -o parquet 'QUERY' > rows.parquet`")
            case [".timing", "on" | "off" as state]:
                self._timing = state == "on"
            case [".help"]:
                for line in HELP.splitlines():
                    say(line)
            case _:
                complain(f"no such command: {' '.join(words)}; `.help` lists them")
        return True

    async def _schema(self, name: str) -> None:
        """Print the columns of a relation or the parameters of a macro."""
        from tagstack.cli.asking import all_rows
        from tagstack.domain.errors import TagstackError

        try:
            known = await all_rows(self._client, TABLES)
        except TagstackError as error:
            report(error)
            return
        match [row["kind"] for row in known if row["name"].lower() == name.lower()]:
            case ["macro"]:
                await self.statement(f"FROM ({PARAMETERS}) WHERE lower(macro) = lower({literal(name)})")
            case [_]:
                await self.statement(f"FROM ({COLUMNS}) WHERE lower(relation) = lower({literal(name)})")
            case _:
                complain(f"there is no relation {name}; `.tables` lists them")

    async def _answered(self, text: str) -> int:
        from tagstack.cli.sql_output import answer

        position = await self._client.log_position()
        return await answer(self._client, text, position or 0, self._form)

    async def statement(self, text: str) -> None:
        """Run one statement and print its answer; Ctrl-C cancels it."""
        began = time.perf_counter()
        running = asyncio.ensure_future(self._answered(text))
        with _cancelled_by_ctrl_c(running):
            try:
                count = await running
            except asyncio.CancelledError:
                say("cancelled")
            except Exception as error:  # a statement's failure does not end the session
                if report(error) is None:
                    raise
            else:
                took = f" in {time.perf_counter() - began:.3f} s" if self._timing else ""
                say(f"{count} row{'' if count == 1 else 's'}{took}", style="dim")

    async def _words(self) -> list[str]:
        """Return what can be completed: relations, columns, keywords."""
        from tagstack.cli.asking import all_rows
        from tagstack.domain.errors import TagstackError

        words = set(KEYWORDS)
        with contextlib.suppress(TagstackError):
            words |= {str(row["name"]) for row in await all_rows(self._client, TABLES)}
            words |= {str(row["name"]) for row in await all_rows(self._client, COLUMNS)}
        return sorted(words)


@contextlib.contextmanager
def _cancelled_by_ctrl_c(running: asyncio.Future[Any]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, running.cancel)
    except NotImplementedError:  # Windows: Ctrl-C ends the session
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


def _history() -> History:
    """Return the history of statements, kept in the platform's folder for state where that can be written."""
    import platformdirs

    try:
        folder = Path(platformdirs.user_state_dir("tagstack", ensure_exists=True))
        with (folder / "sql_history").open("a"):
            return FileHistory(str(folder / "sql_history"))
    except OSError:
        return InMemoryHistory()


def shell(connection: Connection, form: str) -> None:
    """Run the shell until its end of input."""
    session.run(connection, lambda client: Shell(client, form).run())
