"""Which connection the hot paths of a worker take: our own where the server's demands allow it, or nats-py's."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client

from tagstack.adapters.nats_transport import PlainTransport, Transport
from tagstack.adapters.nats_wire import WireTransport
from tagstack.adapters.nats_wire_format import Unsuited
from tagstack.apps.settings import Settings

_log = logging.getLogger(__name__)


async def open_transport(
    nc: Client, settings: Settings, worker: str, reconnected: Callable[[], Awaitable[None]] | None = None
) -> Transport:
    """Return the fast path, or nats-py where that does not do; the caller closes it. Raises Unavailable."""
    why = "as set"
    if settings.transport == "fast":
        try:
            wire = await WireTransport(settings.nats, f"tagstack-{worker}-fast", reconnected).connect()
        except Unsuited as error:
            why = str(error)
        else:
            _log.info("%s: on the fast path", worker)
            return wire
    _log.info("%s: on the plain path, %s", worker, why)
    return PlainTransport(nc)
