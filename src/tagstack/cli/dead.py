"""`tagstack dead`: queued commands that were refused: list, show, retry or drop them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from tagstack.cli import session
from tagstack.cli.failures import UsageError
from tagstack.cli.options import COMMON, Connection, Flag, Output
from tagstack.cli.output import cell, print_object, say
from tagstack.cli.tables import Relation

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.adapters.nats_dead_letters import DeadLetter, DeadLetters

LIST_LENGTH = 1_000
_COLUMNS = ("id", "time", "actor", "image_stream", "reason")
LETTERS = Relation(_COLUMNS, (*_COLUMNS, "command_id"), "{id}")

DryRun = Annotated[bool, Flag, Parameter(name="--dry-run", group=COMMON)]
All = Annotated[bool, Flag, Parameter(name="--all")]

app = App(
    name="dead", help="Queued commands that were refused: list, show, retry or drop them.", help_format="plaintext"
)


@app.command(name="list")
def list_letters(
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-l"])] = LIST_LENGTH,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> None:
    """The dead letters, oldest first.

    Parameters
    ----------
    limit
        so many at most
    """
    if limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")

    async def work(letters: DeadLetters) -> None:
        found, count = await letters.list(limit)
        if not found and output.format in ("table", "wide"):
            say("no dead letters")
            return
        LETTERS.print([letter.row for letter in found], output.format)
        if count > len(found) and output.format in ("table", "wide"):
            say(f"{count - len(found)} more: raise --limit")

    _run(connection, work)


@app.command
def show(
    number: int,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> None:
    """One dead letter: why it was refused, and what it said.

    Parameters
    ----------
    number
        its id, as `tagstack dead list` shows it
    """

    async def work(letters: DeadLetters) -> None:
        whole = (await letters.get(number)).whole
        if output.format in ("json", "yaml"):
            print_object(whole, output.format)
            return
        for name, value in whole.items():
            if name not in ("headers", "payload"):
                say(f"{name.replace('_', ' ').capitalize() + ':':<16} {cell(value or None)}")
        say("Payload:")
        payload = whole["payload"]
        if isinstance(payload, str):  # no JSON: as it was sent
            say(payload)
        else:
            print_object(payload, "yaml")

    _run(connection, work)


@app.command
def retry(
    *numbers: int,
    every: All = False,
    dry_run: DryRun = False,
    connection: Connection = Connection(),  # noqa: B008  frozen
) -> None:
    """Queue refused commands again, under their own ids.

    Parameters
    ----------
    numbers
        their ids
    every
        all of them
    dry_run
        say what would happen, change nothing
    """

    async def one(letters: DeadLetters, letter: DeadLetter) -> None:
        await letters.retry(letter)

    _each(connection, numbers, ("queued again", one), every=every, dry_run=dry_run)


@app.command
def drop(
    *numbers: int,
    every: All = False,
    dry_run: DryRun = False,
    connection: Connection = Connection(),  # noqa: B008  frozen
) -> None:
    """Delete dead letters for good.

    Parameters
    ----------
    numbers
        their ids
    every
        all of them
    dry_run
        say what would happen, change nothing
    """

    async def one(letters: DeadLetters, letter: DeadLetter) -> None:
        await letters.drop(letter.id)

    _each(connection, numbers, ("dropped", one), every=every, dry_run=dry_run)


def _each(
    connection: Connection,
    numbers: tuple[int, ...],
    act: tuple[str, Callable[[DeadLetters, DeadLetter], Awaitable[None]]],
    *,
    every: bool,
    dry_run: bool,
) -> None:
    if every == bool(numbers):
        raise UsageError("name dead letters by their ids, or --all")
    told, do = act

    async def work(letters: DeadLetters) -> None:
        wanted = list(numbers)
        if every:
            found, count = await letters.list(LIST_LENGTH)
            while len(found) < count:
                found, count = await letters.list(count)
            wanted = [letter.id for letter in found]
        for number in wanted:
            letter = await letters.get(number)
            if not dry_run:
                await do(letters, letter)
            say(f"dead letter {number} {'would be ' if dry_run else ''}{told}")

    _run(connection, work)


def _run(connection: Connection, work: Callable[[DeadLetters], Awaitable[None]]) -> None:
    async def working(client: ServiceClient) -> None:
        from tagstack.adapters.nats_dead_letters import DeadLetters

        await work(DeadLetters(client))

    session.run(connection, working)
