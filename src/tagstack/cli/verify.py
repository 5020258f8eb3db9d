"""`tagstack verify`: does everything stored follow from what came before it?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tagstack.cli import session
from tagstack.cli.backup import progress
from tagstack.cli.failures import DONE, REFUSED, UsageError
from tagstack.cli.options import Connection, Flag, Output
from tagstack.cli.output import print_object, say

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.apps.verify import Report


def verify(
    *,
    backup: Path | None = None,
    offline: Annotated[bool, Flag] = False,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int:
    """Check the log by its own rules, and what is derived from it against the log; exit 1 with complaints.

    Parameters
    ----------
    backup
        check this backup too: its checksums, and its events by the rules of the log
    offline
        check nothing but the backup; no service is asked
    """
    from tagstack.apps.settings import read_settings
    from tagstack.apps.verify import Verifier

    if offline and backup is None:
        raise UsageError("--offline checks a backup: name it with --backup")
    settings = read_settings(os.environ, home=connection.home)
    with progress("verifying") as told:
        verifier = Verifier(told)
        if not offline:

            async def work(client: ServiceClient) -> None:
                snapshot = None if connection.server else settings.snapshot
                await verifier.log(await client.connected(), snapshot)

            session.run(connection, work)
        if backup is not None:
            verifier.backup(backup)
    report = verifier.report()
    _tell(report, output.format)
    return REFUSED if report.complaints_count else DONE


def _tell(report: Report, form: str) -> None:
    if form in ("json", "yaml"):
        print_object(msgspec.to_builtins(report), form)
        return
    for checked in report.checked:
        say(f"{checked.what}: {(checked.not_checked and f'not checked: {checked.not_checked}') or checked.count}")
    for found in report.complaints:
        where = "-" if found.position is None else str(found.position)
        say(f"position {where}: {found.check}: {found.detail}", style="red")
    if (more := report.complaints_count - len(report.complaints)) > 0:
        say(f"{more} more complaints")
    count = report.complaints_count
    verdict = f"{count or 'no'} complaint{'' if count == 1 else 's'}"
    say(f"verified up to position {report.position}: {verdict}")
