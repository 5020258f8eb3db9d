"""Measures how figures grow with the log: `python benchmarks/growth.py [EVENTS...]`, 10k to 10M by default.

A tag for every ten events, ten tags in an image stream. One log that becomes longer; workers are started anew at each
length. Prints a table, writes the figures to benchmarks/growth.json and docs/growth.svg.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import duckdb
import uvloop
from growth_plot import Panel, draw

from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_streams import EVENTS_STREAM, log_position, stream_info
from tagstack.bench.feed import pass_by, until_learned
from tagstack.bench.filling import fill
from tagstack.bench.history import EVENTS_PER_TAG, History, Place
from tagstack.bench.load import Sender, Sent
from tagstack.bench.lookups import Lookups
from tagstack.bench.projector import BenchProjector
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, NAMESPACE, Pushes, digest, small
from tagstack.bench.stage import Stage, stage
from tagstack.domain.names import ImageStreamName

LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
WIDE = (1, 10, 100, 1_000)  # tags of an image stream whose load is measured
DEEP = 2_000  # moves of the only tag of another one
TIMES = 5
PER_S, STEADY_S = 500.0, 2.0
FOLLOW_PER_S, FOLLOW_S = 1_000.0, 5.0
COLD, WARM = 200, 500
SPREAD = 20  # tags whose past is read: the server keeps each block of 8 MB that it has read for some ten seconds
QUERIES = {
    "as of, one namespace, ms": "FROM tags_as_of(getvariable('half')) WHERE namespace = 'project-3'",
    "as of, everything, ms": "SELECT count(*), max(since) FROM tags_as_of(getvariable('half'))",
    "churn per day, ms": "SELECT day, sum(moves), sum(tags) FROM churn_per_day GROUP BY day",
}
HALF = "SET VARIABLE half = (SELECT time FROM events WHERE position = {position})"
HERE = Path(__file__).parent

Figures = dict[str, float]


class Growth:
    """Measures everything at one length after the other."""

    def __init__(self, place: Stage) -> None:
        self._stage = place
        self._history = History()
        self._projector = BenchProjector(place)
        self._pushes = Pushes([f"app{number}" for number in range(IMAGE_STREAMS)])

    async def set_up(self) -> None:
        """Make image streams with many tags and with a deep stack, and show readers a first snapshot."""
        await self._stage.start_worker("commands")
        sender = await Sender(self._stage.transport).start()
        await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
        for tags in WIDE:
            await sender.crowd(_wide(f"wide{tags}", tags), 16)
        await sender.crowd(Pushes(["deep"]).take(DEEP), 64)
        await self._projector.start()
        self._stage.stop_worker("commands")

    async def at(self, events: int) -> Figures:
        """Return every figure with a log of so many events."""
        self._stage.stop_worker("projector")
        missing = events - await log_position(self._stage.nc)
        await fill(self._stage, self._history, missing, events // EVENTS_PER_TAG)
        await pass_by(self._stage)
        built = await self._projector.build()
        found: Figures = {"projector, events/s": built.rate, "sorting, s": await self._projector.until_sorted()}
        self._stage.stop_worker("projector")
        found |= await self._commands()
        found |= await self._loads()
        await self._projector.start()
        found |= await self._following()
        found |= await self._lookups()
        found |= await asyncio.to_thread(self._queries)
        found |= {"memory of commands, MB": self._stage.memory_mb("commands")}
        found["memory of projector, MB"] = max(built.memory_mb, self._stage.memory_mb("projector"))
        found |= await self._bytes()
        self._stage.stop_worker("commands")
        return found

    async def _commands(self) -> Figures:
        """Start a command worker that knows nothing yet, and push."""
        began = time.perf_counter()
        await self._stage.start_worker("commands")
        found = {"start of a command worker, s": time.perf_counter() - began}
        sender = await Sender(self._stage.transport).start()
        tags = self._history.tags
        every = dict.fromkeys(Place(number * tags // COLD).image_stream for number in range(COLD))
        cold = await sender.crowd((_push(name) for name in every), 1)
        await sender.crowd(self._pushes.take(2 * IMAGE_STREAMS), 64)
        warm = await sender.crowd(self._pushes.take(WARM), 1)
        await until_learned(self._stage)
        steady = [await sender.steady(self._pushes.take(int(PER_S * STEADY_S)), PER_S) for _ in range(TIMES)]
        found |= {f"command p{p} at 500/s, ms": median(load.percentile(p / 100) for load in steady) for p in (50, 99)}
        found["memory of server, MB"] = self._stage.memory_mb("server")
        moved = (Place(number * tags // SPREAD + tags // (2 * SPREAD)) for number in range(SPREAD))
        found["rolling a tag back, p50, ms"] = (await sender.crowd(map(_rollback, moved), 1)).percentile(0.5)
        found["memory of server after these, MB"] = self._stage.memory_mb("server")
        for kind, load in (("cold", cold), ("warm", warm)):
            found[f"push to a {kind} image stream, p50, ms"] = load.percentile(0.5)
        return found

    async def _loads(self) -> Figures:
        """Load image streams with more and more tags, and one whose only tag has moved often."""
        log = await NatsLog(self._stage.nc, self._stage.transport).start()
        found = {}
        for name in (*(f"wide{tags}" for tags in WIDE), "deep"):
            times = []
            for _ in range(4 * TIMES):
                began = time.perf_counter()
                assert (await log.load(ImageStreamName(NAMESPACE, name))).tags
                times.append((time.perf_counter() - began) * 1e3)
            found[f"load of {name}, ms"] = median(times)
        return found

    async def _following(self) -> Figures:
        """Push at a steady rate while the projector follows, and tell what its snapshots took."""
        before = await asyncio.to_thread(self._published)
        sender = await Sender(self._stage.transport).start()
        await sender.steady(self._pushes.take(int(FOLLOW_PER_S * FOLLOW_S)), FOLLOW_PER_S)
        await self._projector.caught_up()
        after = await asyncio.to_thread(self._published)
        return {"publishing a snapshot, mean, ms": (after[0] - before[0]) / (after[1] - before[1]) * 1e3}

    def _published(self) -> tuple[float, float]:
        told = json.loads((self._stage.home / "run" / "projector.json").read_text())["http"]
        with urllib.request.urlopen(told + "/metrics") as answer:  # noqa: S310 our own address
            lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        name = "tagstack_projector_snapshot_seconds"
        return float(lines[f"{name}_sum"]), float(lines[f"{name}_count"])

    async def _lookups(self) -> Figures:
        looking = Lookups(self._stage, self._history.tags, COLD)
        log = [(await looking.by_direct_get()).percentile(0.5) for _ in range(TIMES)]
        stacks = [(await looking.stacks_from_log(SPREAD)).percentile(0.5) for _ in range(TIMES)]
        whole = [(await looking.image_streams_from_log(TIMES)).percentile(0.5) for _ in range(TIMES)]
        return {
            "a tag's stack from the log, the first time, p50, ms": stacks[0],
            "and again, p50, ms": median(stacks[1:]),
            "all stacks of an image stream of 10 tags from the log, p50, ms": median(whole),
            "current tag by direct get, p50, ms": median(log),
            "current tag in DuckDB, p50, ms": (await asyncio.to_thread(looking.in_duckdb)).percentile(0.5),
            "a tag's stack in DuckDB, p50, ms": (await asyncio.to_thread(looking.stacks, SPREAD)).percentile(0.5),
        }

    def _queries(self) -> Figures:
        found = {}
        with duckdb.connect(str(self._stage.snapshot), read_only=True, config={"threads": 2}) as con:
            position = self._history.events // 2
            con.execute(HALF.format(position=position))
            for name, sql in QUERIES.items():
                times = []
                for _ in range(TIMES + 1):
                    began = time.perf_counter()
                    assert con.execute(sql).fetchall()
                    times.append((time.perf_counter() - began) * 1e3)
                found[name] = median(times[1:])
        return found

    async def _bytes(self) -> Figures:
        state = (await stream_info(self._stage.nc, EVENTS_STREAM))["state"]
        file = mean(path.stat().st_size for path in (self._stage.home / "read-models").glob("*.duckdb"))
        count = state["messages"]
        return {"log, bytes per event": state["bytes"] / count, "DuckDB, bytes per event": file / count}


def _push(name: ImageStreamName) -> Sent:
    """Return a push of a known image to the tag `latest` of an image stream of the history."""
    command = {
        "kind": "ImageStreamMapping",
        "metadata": {"namespace": name.namespace, "name": name.name},
        "image": {
            "metadata": {"name": digest(1)},
            "dockerImageReference": f"r.example/{name}@{digest(time.time_ns())}",
        },
        "tag": "latest",
    }
    return _sent(name, command)


def _rollback(place: Place) -> Sent:
    """Return a rollback of a tag of the history by one entry."""
    name = place.image_stream
    return _sent(name, {"kind": "RollbackTag", "metadata": {"name": f"{name.name}:{place.tag}"}})


def _sent(name: ImageStreamName, command: dict[str, Any]) -> Sent:
    return Sent(f"tagstack.commands.bench.{name.namespace}.{name.name}", json.dumps(command).encode())


def _wide(name: str, tags: int) -> Iterator[Sent]:
    for number in range(tags):
        sent = small(name, number % IMAGES)
        yield Sent(sent.subject, sent.body.replace(b'"latest"', b'"t%d"' % number))


def panels(found: Sequence[Figures]) -> list[Panel]:
    """Return what is drawn of the figures."""

    def lines(*names: str) -> dict[str, list[float]]:
        return {name: [figures[name] for figures in found] for name in names}

    pushes = [f"push to a {kind} image stream, p50, ms" for kind in ("cold", "warm")]
    lookups = [
        "current tag by direct get, p50, ms",
        "current tag in DuckDB, p50, ms",
        "a tag's stack in DuckDB, p50, ms",
        "a tag's stack from the log, the first time, p50, ms",
    ]
    return [
        Panel("commands, ms", lines("command p50 at 500/s, ms", "command p99 at 500/s, ms", *pushes)),
        Panel(
            "loading an image stream, ms", lines(*(f"load of {n}, ms" for n in (*map("wide{}".format, WIDE), "deep")))
        ),
        Panel("projector, events/s", lines("projector, events/s")),
        Panel("publishing a snapshot, ms", lines("publishing a snapshot, mean, ms")),
        Panel("queries, ms", lines(*lookups, *QUERIES)),
        Panel("memory, MB", lines(*(f"memory of {name}, MB" for name in ("server", "commands", "projector")))),
    ]


def tell(lengths: Sequence[int], found: Sequence[Figures]) -> None:
    """Print the figures as a table, and keep them."""
    print("| events | " + " | ".join(f"{length:,}" for length in lengths) + " |\n|" + "---|" * (len(lengths) + 1))
    for name in found[0]:
        print(f"| {name} | " + " | ".join(f"{figures[name]:,.4g}" for figures in found) + " |")
    (HERE / "growth.json").write_text(json.dumps(dict(zip(map(str, lengths), found, strict=True)), indent=1) + "\n")
    (HERE.parent / "docs" / "growth.svg").write_text(draw(lengths, panels(found)))


async def main(lengths: Sequence[int]) -> None:
    """Measure at each length, and tell after each what is known so far."""
    found: list[Figures] = []
    async with stage() as place:
        growth = Growth(place)
        await growth.set_up()
        for length in lengths:
            print(f"{length:,} events", file=sys.stderr, flush=True)
            found.append(await growth.at(length))
            tell(lengths[: len(found)], found)


if __name__ == "__main__":
    uvloop.run(main([int(length) for length in sys.argv[1:]] or LENGTHS))
