"""Starts a worker process by its name, and serves it until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable

import msgspec

from tagstack.adapters.nats_connection import shown
from tagstack.apps import http
from tagstack.apps.files import remove, write_atomically
from tagstack.apps.settings import Settings
from tagstack.apps.shell import Worker

# collecting every 700 allocations took half of the command worker's time
GC_THRESHOLDS = (50_000, 20, 50)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_log = logging.getLogger(__name__)


def run_worker(name: str, settings: Settings) -> None:
    """Run one worker until a signal ends it: `commands`, `projector` or `sql`."""
    logging.basicConfig(stream=sys.stderr, level=settings.log_level.upper(), format=LOG_FORMAT)
    worker = _builder(name)(settings)
    gc.freeze()  # modules live as long as the process
    gc.set_threshold(*GC_THRESHOLDS)
    if sys.platform != "win32":
        import uvloop

        uvloop.run(serve(worker, settings))
    else:
        asyncio.run(serve(worker, settings))


def _builder(name: str) -> Callable[[Settings], Worker]:
    """Return the function that builds a worker; each imports only what it needs."""
    if name == "commands":
        from tagstack.apps.commands import build as commands

        return commands
    if name == "projector":
        from tagstack.apps.projector import build as projector

        return projector
    if name == "sql":
        from tagstack.apps.sql import build as sql

        return sql
    raise AssertionError(f"no worker is called {name}")


async def serve(worker: Worker, settings: Settings) -> None:
    """Serve a worker's application, and tell in `HOME/run` where, until it is asked to stop."""
    sock = http.listen(settings.http_port, usual=0, host=settings.http_host)
    server = http.server(worker.app, lifespan="on")

    def stop() -> None:
        server.should_exit = True

    http.stop_on_signals(stop)
    told = settings.home_path / "run" / f"{worker.name}.json"
    write_atomically(told, msgspec.json.encode({"pid": os.getpid(), "http": http.url_of(sock)}))
    _log.info("%s: health on %s, NATS at %s", worker.name, http.url_of(sock), shown(settings.nats))
    try:
        await server.serve(sockets=[sock])
    finally:
        remove(told)
    if not server.started:
        raise SystemExit(3)
