"""Runs the figures one after the other and hands out each row as soon as it is known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from tagstack.bench.figures import Row
from tagstack.bench.read_rows import ReadPath
from tagstack.bench.sizes import Sizes
from tagstack.bench.stage import stage
from tagstack.bench.synced_rows import synced
from tagstack.bench.write_rows import WritePath

Part = tuple[str, Callable[[], Awaitable[list[Row]]]]
Begun = Callable[[str, int, int], None]  # what is measured now, its number, and of how many


async def run(sizes: Sizes, begun: Begun) -> AsyncIterator[Row]:
    """Yield the rows; everything they need is set up before and gone afterwards.

    The read path has a stage of its own, so that its log is as long as it is said to be.
    """
    begun("starting", 0, 1)
    async with stage() as place, stage() as other:
        for each in (place, other):
            await each.start_worker("commands")
        writing, reading = WritePath(place, sizes), ReadPath(other, sizes)
        await writing.set_up()
        parts: list[Part] = [
            ("small commands", writing.small_commands),
            ("one hot image stream", writing.hot_image_stream),
            ("commands that move 5 tags", writing.aliases),
            ("real mappings", writing.real_mappings),
            ("latency", writing.latency),
            ("sync_interval: always", lambda: synced(sizes)),
        ]
        for events in sizes.logs:
            parts += reading.parts(events)
        for number, (name, measure) in enumerate(parts):
            begun(name, number, len(parts))
            for row in await measure():
                yield row
