"""Connections to NATS that come back by themselves."""

from __future__ import annotations

import logging
import re

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from tagstack.domain.errors import Unavailable

CONNECT_TIMEOUT_S = 5
RECONNECT_WAIT_S = 0.2
PENDING_BYTES_MAX = 64 * 1024 * 1024

_PASSWORD = re.compile(r"(//[^/@:]*:)[^/@]*@")

_log = logging.getLogger(__name__)


def shown(url: str) -> str:
    """Return a URL without its password, as it may be printed."""
    return _PASSWORD.sub(r"\1***@", url)


async def connect(url: str, name: str, *, patient: bool = True, credentials: str = "") -> Client:
    """Return a connection called `name`; a `patient` one reconnects for ever.

    Raises: Unavailable where no server listens at `url`.
    """

    async def noted(error: Exception) -> None:
        if patient:  # who is not gets the error raised
            _log.warning("nats: %s", error or type(error).__name__)

    try:
        return await nats.connect(
            url.split(","),  # several of a cluster: the first that answers
            name=name,
            connect_timeout=CONNECT_TIMEOUT_S,
            allow_reconnect=patient,
            # 0 means "try for ever" to nats-py when the first connection fails
            max_reconnect_attempts=-1 if patient else 1,
            reconnect_time_wait=RECONNECT_WAIT_S,
            pending_size=PENDING_BYTES_MAX,
            error_cb=noted,
            user_credentials=credentials or None,
        )
    except (OSError, NoServersError, NatsError) as error:
        raise Unavailable(f"no NATS server answers at {shown(url)}: {error or type(error).__name__}") from error
