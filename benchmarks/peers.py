"""Peers beside tagstack, in turns in one run: `python benchmarks/peers.py [EVENTS]`. Prints medians and ratios.

`eventsourcing` appends with the aggregate loaded first; PostgreSQL folds the same events by statement
triggers and answers the same questions. A ratio above 1 is in tagstack's favour.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import duckdb
import uvloop
from eventsourcing_peer import EventSourcing, Snapshotting, on_postgresql, on_sqlite
from postgresql_peer import Fold, PostgreSQL, installed
from triggers import as_statements

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.nats_log import encode
from tagstack.application.read_models import LogMessage
from tagstack.bench.filling import fill
from tagstack.bench.history import EVENTS_PER_TAG, History, Place
from tagstack.bench.load import Sender
from tagstack.bench.lookups import Lookups
from tagstack.bench.requests import IMAGE_STREAMS, IMAGES, Pushes, small
from tagstack.bench.stage import stage

EVENTS = 1_000_000
ROUNDS = 3
COMMANDS, PEER_COMMANDS, IN_FLIGHT = 20_000, 300, 512
HISTORIES = (1, 10, 100, 1_000)  # events of an aggregate before it is pushed to
EVENTS_BEFORE = 100_000  # at most, of all aggregates together
SMALL, LARGE = 1_000, 20_000  # events per batch
SMALL_SHARE = 0.1  # of the events, folded in small batches
MEMORY_MB = 600  # as the projector has it
BUILT = "all of them, a build with its end"
RUNS = 7
LOOKUPS = 500

# the same question, as each asks it best
AS_OF = (
    "SELECT count(*), max(since) FROM tags_as_of('{time}')",
    """SELECT count(*), max(since) FROM (SELECT DISTINCT ON (namespace, image_stream, tag) * FROM tag_changes
     WHERE time <= '{time}Z' ORDER BY namespace, image_stream, tag, position DESC) known WHERE image <> ''""",
)
AS_OF_ONE = (
    "FROM tags_as_of('{time}') WHERE namespace = 'project-3'",
    """SELECT DISTINCT ON (namespace, image_stream, tag) * FROM tag_changes WHERE namespace = 'project-3'
       AND time <= '{time}Z' ORDER BY namespace, image_stream, tag, position DESC""",
)
CHURN = (
    "FROM churn_per_day",
    """SELECT date_trunc('day', time), namespace, count(*), count(DISTINCT (image_stream, tag)),
       count(DISTINCT image_stream) FROM tag_changes WHERE is_entry GROUP BY 1, 2""",
)
MOVES = (
    "SELECT day, sum(moves) FROM churn_per_day GROUP BY day",
    "SELECT date_trunc('day', time), count(*) FROM tag_changes WHERE is_entry GROUP BY 1",
)
QUESTIONS = {"as of, everything": AS_OF, "as of, one namespace": AS_OF_ONE, "churn per day": CHURN, "moves": MOVES}
CURRENT = "SELECT * FROM current_tags WHERE namespace = {mark} AND image_stream = {mark} AND tag = {mark}"


def row(name: str, ours: float, theirs: float, unit: str) -> None:
    """Print a line; in `ms` less is better."""
    ratio = theirs / ours if unit == "ms" else ours / theirs
    print(f"| {name} | {ours:,.4g} | {theirs:,.4g} | {unit} | {ratio:,.2f} |", flush=True)


async def appends(server: PostgreSQL | None) -> None:
    """Compare pushes per second: a command decided and stored, with an aggregate loaded, changed and saved.

    Loading costs by what an aggregate has behind it, so both begin with histories of several lengths; ours grow faster.
    """
    with tempfile.TemporaryDirectory(prefix="tagstack-peers-") as folder:
        async with stage() as place:
            await place.start_worker("commands")
            await place.start_worker("projector")  # their projections are kept in the same run too
            sender, peers = await Sender(place.transport).start(), _peers(Path(folder), server)
            await sender.crowd(iter([small("known", number) for number in range(IMAGES)]), 1)
            for history in HISTORIES:
                await _appends(sender, peers, history)
            for peer in peers.values():
                peer.close()


def _peers(folder: Path, server: PostgreSQL | None) -> dict[str, EventSourcing]:
    peers = {
        "SQLite": on_sqlite(folder / "plain"),
        "SQLite, snapshots": on_sqlite(folder / "snapshots", Snapshotting),
    }
    return peers | ({"PostgreSQL": on_postgresql(server.folder)} if server else {})


async def _appends(sender: Sender, peers: dict[str, EventSourcing], history: int) -> None:
    """Compare pushes to image streams that have so many pushes behind them."""
    image_streams = min(IMAGE_STREAMS, EVENTS_BEFORE // history)
    pushes = Pushes([f"app{history}-{number}" for number in range(image_streams)])
    await sender.crowd(pushes.take(history * image_streams), IN_FLIGHT)
    for peer in peers.values():
        await asyncio.to_thread(peer.begin, image_streams, history)
    many, one, theirs = list[float](), list[float](), {name: list[float]() for name in peers}
    for _ in range(ROUNDS):
        many.append((await sender.crowd(pushes.take(COMMANDS), IN_FLIGHT)).rate)
        one.append((await sender.crowd(pushes.take(PEER_COMMANDS), 1)).rate)
        for name, peer in peers.items():
            theirs[name].append(await asyncio.to_thread(peer.appends_per_s, PEER_COMMANDS))
    for name, rates in theirs.items():
        told = f"eventsourcing on {name}, load first, {history:,} events each"
        row(f"push, 512 in flight / {told}", median(many), median(rates), "1/s")
        row(f"push, one at a time / {told}", median(one), median(rates), "1/s")


def folds(server: PostgreSQL, path: Path, events: int) -> ReadModelFile:
    """Compare folding the same events, in small batches and in large ones; return our read models."""
    options = FileOptions(memory_mb=MEMORY_MB, building=True)
    built = ReadModelFile(path, discover([builtin_folder()]), options)
    every = ReadModelFile(path.with_name("every.duckdb"), discover([builtin_folder()]), options)
    every.complete()  # now: nothing is left for the end, as the peer's triggers leave nothing
    same = ReadModelFile(path.with_name("same.duckdb"), as_statements(), options)
    ways: dict[str, Callable[[Sequence[LogMessage], int], float]] = {
        BUILT: lambda log, size: _fold(built, log, size),
        "all of them right after each batch": lambda log, size: _fold(every, log, size),
        "the same three right after each batch": lambda log, size: _fold(same, log, size),
        "from JSON": Fold(server, "from_json", ready=False).fold,
        "columns read before": Fold(server, "ready", ready=True).fold,
    }
    log, each = messages(events), int(events / ROUNDS)
    rates = {(way, size): list[float]() for size in (SMALL, LARGE) for way in ways}
    for number in range(ROUNDS):
        for size, count in ((SMALL, int(each * SMALL_SHARE)), (LARGE, int(each * (1 - SMALL_SHARE)))):
            part = [next(log) for _ in range(count)]
            turn = list(ways.items())
            for way, fold in reversed(turn) if number % 2 else turn:
                rates[way, size].append(fold(part, size))
    began = time.perf_counter()
    built.complete()
    end_s = (time.perf_counter() - began) / built.checkpoint.position
    for file in (every, same):
        file.close()
    for size in (SMALL, LARGE):
        rates[BUILT, size] = [1 / (1 / rate + end_s) for rate in rates[BUILT, size]]
        for ours, theirs in ((o, t) for t in list(ways)[3:] for o in list(ways)[:3]):
            name = f"fold, batches of {size:,}: {ours} / PostgreSQL, {theirs}"
            row(name, median(rates[ours, size]), median(rates[theirs, size]), "1/s")
    return built


def questions(server: PostgreSQL, models: ReadModelFile) -> None:
    """Compare what is asked of the same events."""
    models.compact()
    path = str(models.path)
    models.close()
    peer = server.connection
    peer.execute("SET search_path TO from_json")
    peer.commit()
    peer.autocommit = True
    peer.execute("VACUUM ANALYZE")
    with duckdb.connect(path, read_only=True, config={"threads": 2}) as con:
        found = con.execute("SELECT median(time), max(position) FROM events").fetchall()
        for name, asked in QUESTIONS.items():
            mine, theirs = (sql.format(time=found[0][0]) for sql in asked)
            ours, others = list[float](), list[float]()
            for _ in range(RUNS):
                ours.append(_timed(lambda sql=mine: con.execute(sql).fetchall()))
                others.append(_timed(lambda sql=theirs: peer.execute(sql).fetchall()))
            row(f"{name}, {found[0][1]:,} events", median(ours[1:]), median(others[1:]), "ms")


async def lookups(server: PostgreSQL, events: int) -> None:
    """Compare point lookups: the log by direct get, DuckDB's snapshot, PostgreSQL's primary key."""
    history = History()
    async with stage() as place:
        await place.start_worker("projector")
        await fill(place, history, events // 2, events // EVENTS_PER_TAG)
        looking = Lookups(place, history.tags, LOOKUPS)
        direct = (await looking.by_direct_get()).percentile(0.5)
    statement = CURRENT.format(mark="%s")
    places = [Place(number * history.tags // LOOKUPS) for number in range(LOOKUPS)]
    keys = [(each.image_stream.namespace, each.image_stream.name, each.tag) for each in places]
    theirs = median(_timed(lambda key=key: server.connection.execute(statement, key).fetchall()) for key in keys)
    row("current tag: direct get on the log / PostgreSQL by key", direct, theirs, "ms")


def messages(count: int) -> Iterator[LogMessage]:
    """Return a history as the projector reads it."""
    for position, event in enumerate(History().take(count, count // EVENTS_PER_TAG), 1):
        yield LogMessage(position, "", encode(event), f"id-{position}")


def _fold(models: ReadModelFile, log: Sequence[LogMessage], size: int) -> float:
    began = time.perf_counter()
    for start in range(0, len(log), size):
        models.fold(log[start : start + size], "log")
    assert models.dead_letters == 0
    return len(log) / (time.perf_counter() - began)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    assert work()
    return (time.perf_counter() - began) * 1e3


def main(events: int) -> None:
    """Print a table of everything."""
    print("| tagstack / peer | tagstack | peer | unit | ratio |\n|---|---|---|---|---|")
    if not installed():
        print("PostgreSQL is not installed: only `eventsourcing` on SQLite is compared", file=sys.stderr)
        uvloop.run(appends(None))
        return
    with tempfile.TemporaryDirectory(prefix="tagstack-peers-") as folder, PostgreSQL(Path(folder)) as server:
        uvloop.run(appends(server))
        questions(server, folds(server, Path(folder) / "built.duckdb", events))
        uvloop.run(lookups(server, events))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
