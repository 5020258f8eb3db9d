"""`tagstack export`: the read models as Parquet."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tagstack.cli import session
from tagstack.cli.options import Connection, Output
from tagstack.cli.output import print_object, say

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.application.export import Exported


def export(
    directory: Path,
    /,
    *,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> None:
    """Write the read models as Parquet, events by day; run again it writes what changed.

    From the snapshot's file where it is on this machine; with --server, or without such a file, over NATS.

    Parameters
    ----------
    directory
        where to; a new folder is made
    """
    from tagstack.apps import export as exporting
    from tagstack.apps.settings import read_settings

    settings = read_settings(os.environ, home=connection.home)
    snapshot = settings.snapshot
    if connection.server or not snapshot.exists():

        async def work(client: ServiceClient) -> Exported:
            return await exporting.from_service(client, directory)

        done = session.run(connection, work)
    else:
        done = asyncio.run(exporting.from_snapshot(snapshot, directory))
    if output.format in ("json", "yaml"):
        print_object(msgspec.to_builtins(done), output.format)
    else:
        say(f"{directory}: {done.files} files up to position {done.position}, {done.written} of them written now")
