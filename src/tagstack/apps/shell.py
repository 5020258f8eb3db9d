"""The shell of every worker process: one FastStream application around one part that does the work.

FastStream brings connection, lifespan, routes and the queue's subscribers; the hot paths use its
nats-py connection directly, or one of their own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from faststream.asgi import AsgiFastStream
from faststream.nats import NatsBroker
from nats.aio.client import Client
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest

from tagstack.adapters.nats_connection import CONNECT_TIMEOUT_S, PENDING_BYTES_MAX, RECONNECT_WAIT_S
from tagstack.apps import http
from tagstack.apps.settings import Settings

CLOSED_CHECK_INTERVAL_S = 1.0
CLOSED_EXIT_STATUS = 3

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
        settings.nats.split(","),  # several of a cluster: the first that answers
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
            # FastStream does it beside the application, where a stop would miss subscribers that begin later
            await broker.start()
            yield
        finally:  # after a start that was interrupted: the thread ends the process; else it is stopped already
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
        on_shutdown=[part.stop, stopping.set],  # before the connection is closed
        logger=None,
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
