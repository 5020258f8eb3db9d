"""`tagstack up` and `tagstack worker`: the service itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tagstack.cli.options import Flag


def up(
    *,
    home: str | None = None,
    nats: str | None = None,
    nats_port: int | None = None,
    http_port: int | None = None,
    projections: str | None = None,
    grants: str | None = None,
    quiet: Annotated[bool, Flag, Parameter(name=["--quiet", "-q"])] = False,
) -> None:
    """Run everything on this machine: NATS server, workers, health and metrics. Ctrl-C stops it cleanly.

    Parameters
    ----------
    home
        folder that holds everything [TAGSTACK_HOME; else the platform's user data folder]
    nats
        URL of a NATS server that is there already, instead of the embedded one [TAGSTACK_NATS]
    nats_port
        port of the embedded server, 0 for any free one [TAGSTACK_NATS_PORT; else 4222 where it is free]
    http_port
        port of health and metrics, 0 for any free one [TAGSTACK_HTTP_PORT]
    projections
        folder of more read models, beside the built-in ones [TAGSTACK_PROJECTIONS]
    grants
        file that says who may read which project [TAGSTACK_GRANTS]
    quiet
        don't print what listens where
    """
    from tagstack.apps.settings import read_settings

    settings = read_settings(
        os.environ,
        home=_absolute(home),
        nats=nats,
        nats_port=nats_port,
        http_port=http_port,
        projections=_absolute(projections),
        grants=_absolute(grants),
    )
    from tagstack.apps.up import main

    main(settings, quiet=quiet)


def worker(
    name: Literal["commands", "projector", "sql"],
    /,
    *,
    nats: str | None = None,
    home: str | None = None,
    http_port: int | None = None,
) -> None:
    """Run one worker process, for deployments.

    Parameters
    ----------
    name
        commands (decides), projector (folds the log into read models) or sql (answers SQL)
    nats
        URL of the NATS server [TAGSTACK_NATS]
    home
        folder of this worker's files [TAGSTACK_HOME]
    http_port
        port of health and metrics, 0 for any free one [TAGSTACK_HTTP_PORT]
    """
    from tagstack.apps.settings import SettingsError, read_settings

    settings = read_settings(os.environ, nats=nats, home=_absolute(home), http_port=http_port)
    if not settings.nats:
        raise SettingsError("TAGSTACK_NATS, or --nats, must be the URL of a worker's NATS server, got ''")
    from tagstack.apps.workers import run_worker

    run_worker(name, settings)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())
