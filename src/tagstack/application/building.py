"""A file that is being built: it is sorted before it takes the live one's place, and tells how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tagstack.application.read_models import ReadModels

LOOK_INTERVAL_S = 0.25


async def sort(models: ReadModels, stopping: Callable[[], bool]) -> None:
    """Sort in a thread of its own, so that the live file is followed meanwhile; a stop ends it. Raises Damaged."""
    if stopping():
        return
    sorting = asyncio.create_task(asyncio.to_thread(models.sort))
    while not (await asyncio.wait([sorting], timeout=LOOK_INTERVAL_S))[0]:
        if stopping():
            models.interrupt()  # again and again: the first may come between two statements
    await sorting


def progress(building: ReadModels | None, log_position: int) -> dict[str, Any]:
    """Return how far a build is, as the control subject answers it; of no file yet, at the beginning."""
    position, (table, share) = (building.checkpoint.position, building.sorting()) if building else (0, ("", 0.0))
    return {"position": position, "log": log_position, "sorting": table, "sorted": share}
