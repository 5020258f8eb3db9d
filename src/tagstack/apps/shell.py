"""The shell of every worker process: one FastStream application around one part that does the work.

FastStream brings connection, lifespan, AsyncAPI and middleware; the hot paths use its nats-py
connection directly.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from faststream.asgi import AsgiFastStream
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest

from tagstack import __version__
from tagstack.adapters.nats_connection import CONNECT_TIMEOUT_S, PENDING_BYTES_MAX, RECONNECT_WAIT_S, shown
from tagstack.apps import http
from tagstack.apps.settings import Settings

# collecting every 700 allocations took half of the command worker's time
GC_THRESHOLDS = (50_000, 20, 50)
CLOSED_CHECK_INTERVAL_S = 1.0
CLOSED_EXIT_STATUS = 3
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_log = logging.getLogger(__name__)


class Part(Protocol):
    """What a worker process does."""

    async def start(self, nc: Client) -> None:
        """Begin to work. Raises TagstackError where that is impossible."""
        ...

    async def stop(self) -> None:
        """Take no more, and finish what is in flight within a bound."""
        ...

    def why_not_ready(self) -> str:
        """Return "" when the part does its work, else the reason why it does not."""
        ...


class Worker(msgspec.Struct):
    """A worker process that is built and connected to nothing yet."""

    name: str
    app: AsgiFastStream
    broker: NatsBroker


def build(name: str, settings: Settings, part: Part, registry: CollectorRegistry, **broker_options: Any) -> Worker:
    """Return the application around a part; nothing is connected before its lifespan begins."""
    broker = NatsBroker(
        settings.nats,
        name=f"tagstack-{name}",
        connect_timeout=CONNECT_TIMEOUT_S,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # nats-py takes fractions
        pending_size=PENDING_BYTES_MAX,
        user_credentials=settings.nats_credentials or None,
        graceful_timeout=settings.shutdown_timeout_s,
        apply_types=False,
        logger=_quiet_logger(),
        **broker_options,
    )
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ProcessCollector(namespace=f"tagstack_{name}", registry=registry)
    connected: list[Client] = []
    stopping = threading.Event()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await broker.connect()
        nc = broker.config.connection_state.connection
        connected.append(nc)
        threading.Thread(target=_end_with_connection, args=(name, nc, stopping), daemon=True).start()
        await part.start(nc)
        try:
            yield
        finally:
            stopping.set()
            await broker.stop()

    def why_not_ready() -> str:
        if not connected or not connected[0].is_connected:
            return f"{name}: not connected to NATS"
        return part.why_not_ready()

    async def metrics() -> bytes:
        return generate_latest(registry)

    app = AsgiFastStream(
        broker,
        lifespan=lifespan,
        on_shutdown=[stopping.set, part.stop],  # before the connection is closed
        logger=None,
        specification=AsyncAPI(title=f"tagstack {name}", version=__version__),
        asyncapi_path="/asyncapi",
        asgi_routes=http.health_routes(why_not_ready, metrics),
    )
    return Worker(name, app, broker)


def _end_with_connection(name: str, nc: Client, stopping: threading.Event) -> None:
    """End the process when its connection is closed for good, so that whoever watches it starts another.

    nats-py closes after some errors of the server instead of connecting again, and FastStream's
    subscribers then turn in circles without a pause: only a thread still gets to act.
    """
    while not stopping.wait(CLOSED_CHECK_INTERVAL_S):
        if nc.is_closed:
            _log.error("%s: the connection to NATS was closed for good: %s; ending", name, nc.last_error)
            os._exit(CLOSED_EXIT_STATUS)


def _quiet_logger() -> logging.Logger:
    """Return a logger for FastStream that tells of trouble only; it would tell of every message."""
    logger = logging.getLogger("tagstack.faststream")
    logger.setLevel(logging.WARNING)
    return logger


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
        told.unlink(missing_ok=True)
    if not server.started:
        raise SystemExit(3)


def write_atomically(path: Any, body: bytes) -> None:
    """Write a small file so that a reader sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(body)
    draft.replace(path)
