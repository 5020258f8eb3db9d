"""Finds the service and runs a verb's work against it."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from tagstack.cli.failures import UsageError, complain
from tagstack.cli.options import Connection

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

T = TypeVar("T")

START_IT = "start it with `tagstack up`, or name another one with --server"


def run(connection: Connection, work: Callable[[ServiceClient], Awaitable[T]]) -> T:
    """Connect, do the work, disconnect; return what the work returns."""
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.domain.errors import Unavailable

    url, actor = server_url(connection), actor_name(connection)

    async def working() -> T:
        async with ServiceClient(url, actor) as client:
            done = await work(client)
            for left_out in client.unreadable:
                complain(left_out)
            return done

    try:
        return asyncio.run(working())
    except Unavailable as error:
        hint = "" if "no NATS server" not in str(error) and "no worker" not in str(error) else f"; {START_IT}"
        raise Unavailable(f"{error}{hint}") from error


def server_url(connection: Connection) -> str:
    """Return the URL of the service: --server, TAGSTACK_SERVER, or what `tagstack up` wrote.

    Raises: Unavailable where nothing tells, UsageError where the file can't be read.
    """
    from tagstack.apps.settings import read_settings
    from tagstack.domain.errors import Unavailable

    settings = read_settings(os.environ, home=connection.home)
    if given := connection.server or ("" if connection.home else os.environ.get("TAGSTACK_SERVER", "")):
        return given
    try:
        return str(json.loads(settings.endpoints.read_text())["nats"])
    except FileNotFoundError:
        raise Unavailable(f"tagstack does not run in {settings.home_path}; {START_IT}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{settings.endpoints} can't be read: {error}") from error


def actor_name(connection: Connection) -> str:
    """Return who asks: --actor, TAGSTACK_ACTOR, or the login name. Raises UsageError where it is too long."""
    from tagstack.domain.names import ACTOR_LENGTH_MAX

    name = connection.actor if connection.actor is not None else os.environ.get("TAGSTACK_ACTOR", "") or _login()
    if not 1 <= len(name.encode()) <= ACTOR_LENGTH_MAX:
        raise UsageError(f"actor must have 1 to {ACTOR_LENGTH_MAX} bytes, got {len(name.encode())}")
    return name


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid-{os.getuid()}"
