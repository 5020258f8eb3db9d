"""HTTP of every process: health, readiness and metrics, served by uvicorn on a socket that we open.

Opening the socket ourselves tells the port before the first request, and lets port 0 mean any free one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import uvicorn
from faststream.asgi import AsgiResponse, get

HOST = "127.0.0.1"
HTTP_PORT_USUAL = 8222
BACKLOG = 128
GRACE_S = 3
KEEP_ALIVE_S = 5

Route = tuple[str, Any]


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: who stops the process is decided in one place, `stop_on_signals`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def listen(port: int | None, usual: int = HTTP_PORT_USUAL, host: str = HOST) -> socket.socket:
    """Return a listening socket. None takes the usual port or, where that is taken, any free one.

    Raises: OSError where an asked-for port is taken.
    """
    for candidate in (usual, 0) if port is None else (port,):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, candidate))
        except OSError:
            sock.close()
            if port is not None:
                raise
            continue
        sock.listen(BACKLOG)
        return sock
    raise OSError("no free port")


def url_of(sock: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://{host}:{port}"


def server(app: Any, *, lifespan: str) -> Server:
    """Return a server for an ASGI app that does not log requests."""
    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="on" if lifespan == "on" else "off",
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
    )


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGINT or SIGTERM; the second one ends the process at once."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def stopping(number: int) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping, number)


def health_routes(why_not_ready: Callable[[], str], metrics: Callable[[], Awaitable[bytes]]) -> Sequence[Route]:
    """Return the routes `/healthz`, `/readyz` and `/metrics`."""

    @get(include_in_schema=False)
    async def healthz(scope: Any) -> AsgiResponse:
        """Whether the process lives."""
        return AsgiResponse(b"ok\n", 200)

    @get(include_in_schema=False)
    async def readyz(scope: Any) -> AsgiResponse:
        """Whether the process does its work; if not, why."""
        why = why_not_ready()
        return AsgiResponse((why or "ok").encode() + b"\n", 503 if why else 200)

    @get(include_in_schema=False)
    async def prometheus(scope: Any) -> AsgiResponse:
        """The process's metrics in Prometheus' text format."""
        headers = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        return AsgiResponse(await metrics(), 200, headers)

    return [("/healthz", healthz), ("/readyz", readyz), ("/metrics", prometheus)]
