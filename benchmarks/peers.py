"""Peers beside tagstack: the same pushes in the same run, `eventsourcing` in turns. Prints a table of medians."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median

from eventsourcing_peer import EventSourcing
from postgresql_peer import PostgreSQL, installed

from tagstack.bench.load import Sender
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, Pushes, small
from tagstack.bench.stage import stage

TIMES = 3
COMMANDS = 20_000
PEER_COMMANDS = 1_000
BATCHES = (1, 100, 1_000, 20_000)
EVENTS = {1: 2_000, 100: 50_000, 1_000: 100_000, 20_000: 200_000}
IN_FLIGHT = 512


async def appends() -> None:
    """Compare appends per second: a command decided and stored, against an aggregate loaded and saved."""
    with tempfile.TemporaryDirectory(prefix="tagstack-peers-") as folder:
        async with stage() as place:
            await place.start_worker("commands")
            sender, pushes = await Sender(place.transport).start(), Pushes([f"app{n}" for n in range(IMAGE_STREAMS)])
            await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
            await sender.crowd(pushes.take(2 * IMAGE_STREAMS), IN_FLIGHT)
            peer = EventSourcing(Path(folder) / "events.sqlite")
            ours, alone, theirs = [], [], []
            for _ in range(TIMES):
                ours.append((await sender.crowd(pushes.take(COMMANDS), IN_FLIGHT)).rate)
                alone.append((await sender.crowd(pushes.take(PEER_COMMANDS), 1)).rate)
                theirs.append(await asyncio.to_thread(peer.appends_per_s, PEER_COMMANDS))
            peer.close()
    print(f"append: tagstack, 512 in flight        {median(ours):>10,.0f}/s")
    print(f"append: tagstack, one at a time        {median(alone):>10,.0f}/s")
    print(f"append: eventsourcing on SQLite (load) {median(theirs):>10,.0f}/s")


def folds() -> None:
    """Tell how many events per second PostgreSQL folds, by the size of its batches."""
    if not installed():
        print("PostgreSQL is not installed")
        return
    with tempfile.TemporaryDirectory(prefix="tagstack-peers-") as folder, PostgreSQL(Path(folder)) as peer:
        for size in BATCHES:
            rates = [peer.events_per_s(EVENTS[size], size) for _ in range(TIMES)]
            print(f"fold: PostgreSQL, batches of {size:>6,}      {median(rates):>10,.0f}/s")


if __name__ == "__main__":
    asyncio.run(appends())
    folds()
