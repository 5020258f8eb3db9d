"""The write path where the log syncs every message before its ack: on a stage of its own."""

from __future__ import annotations

from tagstack.bench.figures import Row, Wanted, side_by_side
from tagstack.bench.load import Sender
from tagstack.bench.raw import RawLog, shape_of
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, NAMESPACE, Pushes, small
from tagstack.bench.sizes import Sizes
from tagstack.bench.stage import BARE, stage

IN_FLIGHT = 512


async def synced(sizes: Sizes) -> list[Row]:
    """Commands, many and one at a time, beside single publishes to a log without a stream of tags."""
    async with stage(sync_interval="always") as place:
        await place.start_worker("commands")
        sender, raw = await Sender(place.transport).start(), await RawLog(place, BARE).start()
        pushes = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])
        await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
        await sender.crowd(pushes.take(2 * IMAGE_STREAMS), IN_FLIGHT)
        shape = await shape_of(place, f"tagstack.events.{NAMESPACE}.app0.tag.latest")

        async def many() -> float:
            return (await sender.crowd(pushes.take(sizes.synced), IN_FLIGHT)).rate

        async def one() -> float:
            return (await sender.crowd(pushes.take(sizes.synced_single), 1)).rate

        async def single() -> float:
            return await raw.crowd(shape, sizes.synced_single, IMAGE_STREAMS, 1)

        rows = []
        for measure, name, aim in ((many, "512 in flight", 3.0), (one, "1 in flight", 1.0)):
            wanted = Wanted(f"commands under sync_interval: always, {name}", "1/s", aim)
            rows.append(wanted.row(await side_by_side(measure, single, sizes.times)))
        return rows
