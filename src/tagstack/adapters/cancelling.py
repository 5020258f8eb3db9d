"""How tasks are cancelled that use nats-py: on Python 3.11 it may swallow a cancellation, so one may not be enough."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


async def cancelled(tasks: Iterable[asyncio.Task[None]], again_s: float) -> None:
    """Cancel tasks, every `again_s` seconds once more, until all of them have ended."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=again_s)
