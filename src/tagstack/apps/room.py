"""Brings the embedded server back after its disk was full: it stopped storing, and does not begin again by itself."""

from __future__ import annotations

import asyncio
import logging
import shutil

from nats.aio.client import Client

from tagstack.adapters.nats_health import no_room
from tagstack.adapters.nats_server import NatsServer

CHECK_INTERVAL_S = 2.0
RESTART_WAIT_MAX_S = 60.0  # between two restarts that did not help
LOG_BYTES_MAX = 1024 * 1024  # of what is new in the server's log
FREE_BYTES_MIN = 16 * 1024 * 1024  # with less of it the disk would be full again at once

_WRITE_FAILED = b"JetStream failed to store a msg"

_log = logging.getLogger(__name__)


async def watch_room(server: NatsServer, nc: Client) -> None:
    """Stop the server, to be started again, when it does not store although its disk has room again; for ever."""
    wait_s = CHECK_INTERVAL_S
    seen = _size(server)
    failed = False
    while True:
        await asyncio.sleep(wait_s)
        why = await no_room(nc)
        # of a failed write itself it tells nobody but its log, and whoever published waits for an ack
        failed = failed or _failed_since(server, seen)
        seen = _size(server)
        if not why and not failed:
            wait_s = CHECK_INTERVAL_S
        elif shutil.disk_usage(server.folder).free >= FREE_BYTES_MIN:
            _log.warning(
                "nats-server does not store (%s), and its disk has room; it starts again", why or "see its log"
            )
            failed = False
            await asyncio.to_thread(server.stop)  # who watches over the process starts it again
            wait_s = min(2 * wait_s, RESTART_WAIT_MAX_S)


def _size(server: NatsServer) -> int:
    return server.log_path.stat().st_size


def _failed_since(server: NatsServer, offset: int) -> bool:
    """Return whether the server could not write since its log had a size."""
    with server.log_path.open("rb") as log:
        log.seek(offset)
        return _WRITE_FAILED in log.read(LOG_BYTES_MAX)
