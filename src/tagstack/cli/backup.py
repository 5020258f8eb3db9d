"""`tagstack backup` and `restore`: the log to a folder and back."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tagstack.cli import session
from tagstack.cli.options import Connection, Output
from tagstack.cli.output import on_terminal, print_object, say

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.adapters.nats_restore import Restored


def backup(
    directory: Path,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> None:
    """Copy the log to a folder, while the service runs; run again it adds what is new.

    Parameters
    ----------
    directory
        the backup's folder; a new one is made
    """

    async def work(client: ServiceClient) -> None:
        from tagstack.apps.backup import back_up

        with progress("backing up") as told:
            done = await back_up(await client.connected(), directory, told)
        if output.format in ("json", "yaml"):
            print_object(msgspec.to_builtins(done), output.format)
        else:
            say(f"{directory}: {done.messages} events up to position {done.position}, {done.added} of them new")

    session.run(connection, work)


def restore(
    directory: Path,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> None:
    """Write a backup back, each event at the position it had; run again it finishes what was interrupted.

    Into a home whose service is stopped, or with --server into a server on which no worker runs. The log
    there has to be empty, or the beginning of the backup.

    Parameters
    ----------
    directory
        the backup's folder
    """
    from tagstack.apps.settings import read_settings

    settings = read_settings(os.environ, home=connection.home)
    with progress("restoring") as told:
        if connection.server:

            async def work(client: ServiceClient) -> Restored:
                from tagstack.apps.backup import restore as restored

                return await restored(await client.connected(), directory, settings.replicas, told)

            done = session.run(connection, work)
        else:
            from tagstack.apps.backup import restore_home

            done = asyncio.run(restore_home(settings, directory, told))
    if output.format in ("json", "yaml"):
        print_object(msgspec.to_builtins(done), output.format)
    else:
        where = connection.server or settings.home_path
        say(f"{where}: the log ends at position {done.position}, {done.position - done.found} positions are new")


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar to people, on stderr; yield what moves it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(transient=True, disable=not on_terminal(), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def told(reached: int, last: int) -> None:
            bar.update(task, completed=reached, total=max(1, last))

        yield told
