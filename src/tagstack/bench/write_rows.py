"""The write path: commands per second and their latency, each beside appends of the same bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from tagstack.adapters.nats_transport import Arrived
from tagstack.bench.figures import Row, Wanted, in_turns, side_by_side
from tagstack.bench.load import Load, Sender, Sent
from tagstack.bench.raw import RawLog, shape_of
from tagstack.bench.requests import FOLLOWING, IMAGE_STREAMS, IMAGES, NAMESPACE, Pushes, RealPushes, alias, small
from tagstack.bench.sizes import Sizes
from tagstack.bench.stage import BARE, Stage

IN_FLIGHT = 512
BATCHES_IN_FLIGHT = 16
ALIASED_STREAMS = 64
PER_S = 500.0
SETTLE_S = 0.3  # lets the server finish its own work before the next figure

_T = TypeVar("_T")

EVENTS = f"tagstack.events.{NAMESPACE}"


class WritePath:
    """Measures the rows of the write path, on one stage with one command worker."""

    def __init__(self, stage: Stage, sizes: Sizes) -> None:
        self._stage = stage
        self._sizes = sizes
        self._sender = Sender(stage.transport)
        self._raw, self._bare = RawLog(stage), RawLog(stage, BARE)
        self._many = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])

    async def set_up(self) -> None:
        """Let the worker know every image and image stream, as in a service that has been up for a while."""
        await self._sender.start()
        await self._raw.start()
        await self._bare.start()
        await self._sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
        await self._sender.crowd(self._many.take(2 * IMAGE_STREAMS), IN_FLIGHT)

    async def small_commands(self) -> list[Row]:
        """Small tag commands over many image streams."""
        shape = await shape_of(self._stage, f"{EVENTS}.app0.tag.latest")
        count = self._sizes.commands

        async def ours() -> float:
            return (await self._crowd(self._many, count)).rate

        async def raw() -> float:
            return await self._settled(self._raw.crowd(shape, count, IMAGE_STREAMS, IN_FLIGHT))

        async def bare() -> float:
            return await self._settled(self._bare.crowd(shape, count, IMAGE_STREAMS, IN_FLIGHT))

        name = "commands, 1000 image streams, 512 in flight"
        mine, *others = await in_turns([ours, raw, bare], self._sizes.times)
        wanted = [Wanted(name, "1/s", 0.6), Wanted(f"{name}, beside a log without a stream of tags", "1/s", 0.6)]
        return [each.row(list(zip(mine, theirs, strict=True))) for each, theirs in zip(wanted, others, strict=True)]

    async def hot_image_stream(self) -> list[Row]:
        """Small tag commands on one image stream, beside one append after the other."""
        shape = await shape_of(self._stage, f"{EVENTS}.app0.tag.latest")
        hot, count = Pushes(["hot"]), self._sizes.hot

        async def ours() -> float:
            return (await self._crowd(hot, count)).rate

        async def raw() -> float:
            return await self._settled(self._raw.crowd(shape, count, 1, 1))

        wanted = Wanted("commands, one hot image stream, 512 in flight", "1/s", 0.8)
        return [wanted.row(await side_by_side(ours, raw, self._sizes.times))]

    async def aliases(self) -> list[Row]:
        """Pushes that move five tags at once, and what others on the same log feel of them."""
        names = [f"aliased{number}" for number in range(ALIASED_STREAMS)]
        aliased, count = Pushes(names), self._sizes.aliases
        await self._sender.crowd(aliased.take(len(names)), BATCHES_IN_FLIGHT)
        await self._sender.crowd((alias(name, tag) for name in names for tag in FOLLOWING), BATCHES_IN_FLIGHT)
        await self._sender.crowd(aliased.take(len(names)), BATCHES_IN_FLIGHT)
        shape = await shape_of(self._stage, f"{EVENTS}.aliased0.tag.stable")
        size = 1 + len(FOLLOWING)

        async def ours() -> float:
            return (await self._settled(self._sender.crowd(aliased.take(count), BATCHES_IN_FLIGHT))).rate

        async def raw() -> float:
            return await self._settled(self._raw.batches(shape, count, size, BATCHES_IN_FLIGHT))

        wanted = Wanted("commands that move 5 tags, 16 in flight", "1/s", 0.8)
        rows = [wanted.row(await side_by_side(ours, raw, self._sizes.times))]
        return [*rows, await self._beside_aliases(aliased)]

    async def real_mappings(self) -> list[Row]:
        """Real mappings of new images, each of which stores two events."""
        real, count = RealPushes(), self._sizes.mappings
        await self._crowd(real, IMAGE_STREAMS)
        last = next(real.take(1))
        await self._sender.crowd(iter([last]), 1)
        image = msgspec.json.decode(last.body)["image"]["dockerImageReference"].partition("@sha256:")[2]
        recorded = await shape_of(self._stage, f"tagstack.images.sha256.{image}.recorded")
        tagged = await shape_of(self._stage, f"{EVENTS}.app0.tag.latest")

        async def ours() -> float:
            return (await self._crowd(real, count)).rate

        async def raw() -> float:
            return await self._settled(self._raw.pairs(recorded, tagged, count, IN_FLIGHT))

        wanted = Wanted("real 4 KB mappings of new images, 512 in flight", "1/s", 0.5)
        return [wanted.row(await side_by_side(ours, raw, self._sizes.times))]

    async def latency(self) -> list[Row]:
        """How long a reply takes at a steady rate, and how much later a subscriber hears of the change."""
        shape = await shape_of(self._stage, f"{EVENTS}.app0.tag.latest")
        count = int(self._sizes.steady_s * PER_S)
        late = _Lateness()
        sender = await Sender(self._stage.transport, late.answered).start()
        await self._stage.transport.subscribe(f"tagstack.changed.{NAMESPACE}.*.*", late.changed)
        ours, raw, changed = list[Load](), list[Load](), list[float]()
        for _ in range(self._sizes.times):
            ours.append(await self._settled(sender.steady(self._many.take(count), PER_S)))
            changed.append(late.percentile(0.99))
            raw.append(await self._settled(self._raw.steady(shape, count, PER_S)))
        rows = []
        for share, aim in ((0.5, 2.0), (0.99, 3.0)):
            pairs = [(mine.percentile(share), theirs.percentile(share)) for mine, theirs in zip(ours, raw, strict=True)]
            rows.append(Wanted(f"reply latency p{share * 100:.0f} at 500/s", "ms", aim, "lower").row(pairs))
        return [*rows, Wanted("changed topic after the reply, p99", "ms", 3.0, "lower").alone(changed)]

    async def _beside_aliases(self, aliased: Pushes) -> Row:
        count = int(self._sizes.steady_s * PER_S)
        other = await Sender(self._stage.transport).start()

        async def alone() -> float:
            return (await self._settled(other.steady(self._many.take(count), PER_S))).percentile(0.99)

        async def beside() -> float:
            ending = asyncio.Event()

            async def disturb() -> None:
                while not ending.is_set():
                    await self._sender.crowd(aliased.take(ALIASED_STREAMS), BATCHES_IN_FLIGHT)

            disturbing = asyncio.create_task(disturb())
            try:
                return (await other.steady(self._many.take(count), PER_S)).percentile(0.99)
            finally:
                ending.set()
                await disturbing

        wanted = Wanted("reply latency p99 at 500/s beside those", "ms", None, "lower")
        return wanted.row(await side_by_side(beside, alone, self._sizes.times))

    async def _crowd(self, pushes: Pushes | RealPushes, count: int) -> Load:
        return await self._settled(self._sender.crowd(pushes.take(count), IN_FLIGHT))

    @staticmethod
    async def _settled(measure: Awaitable[_T]) -> _T:
        found = await measure
        await asyncio.sleep(SETTLE_S)
        return found


class _Lateness:
    """How long after a command's reply a subscriber hears of the change. One push per image stream at a time."""

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}
        self._changed: dict[str, float] = {}
        self._late_ms: list[float] = []

    def answered(self, sent: Sent, _: bytes) -> None:
        """Note when a push was answered."""
        self._note(sent.subject.rpartition(".")[2], self._answered)

    def changed(self, msg: Arrived) -> None:
        """Note when a change was heard of."""
        self._note(msg.subject.split(".")[3], self._changed)

    def percentile(self, share: float) -> float:
        """Return what `share` of the changes kept within, in ms, and begin anew; 0 means not later."""
        found = Load(1.0, self._late_ms).percentile(share)
        self._late_ms = []
        return found

    def _note(self, image_stream: str, times: dict[str, float]) -> None:
        times[image_stream] = time.perf_counter()
        if image_stream in self._answered and image_stream in self._changed:
            late = self._changed.pop(image_stream) - self._answered.pop(image_stream)
            self._late_ms.append(max(0.0, late * 1e3))
