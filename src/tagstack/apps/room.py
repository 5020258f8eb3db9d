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
FREE_BYTES_MIN = 16 * 1024 * 1024  # with less of it the disk would be full again at once

_log = logging.getLogger(__name__)


async def watch_room(server: NatsServer, nc: Client) -> None:
    """Stop the server, to be started again, when it refuses to store although its disk has room again, for ever."""
    wait_s = CHECK_INTERVAL_S
    while True:
        await asyncio.sleep(wait_s)
        why = await no_room(nc)
        if not why:
            wait_s = CHECK_INTERVAL_S
        elif shutil.disk_usage(server.folder).free >= FREE_BYTES_MIN:
            _log.warning("nats-server says %s, and its disk has room; it has to start again", why)
            await asyncio.to_thread(server.stop)  # who watches over the process starts it again
            wait_s = min(2 * wait_s, RESTART_WAIT_MAX_S)
