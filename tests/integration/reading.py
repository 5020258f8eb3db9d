"""Helpers of the read side's tests: events as the log hands them out, and readers as analysts are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import duckdb
import msgspec

from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.application.read_models import LogMessage
from tagstack.domain.events import Head, ImageTagged

MODELS = discover([builtin_folder()])
TIME = "2026-01-01T00:00:00.000000Z"

# opens the snapshot by its path again and again, and checks that what it sees is one state, never an older one
READER = """
import sys, duckdb
path, rounds, seen = sys.argv[1], 0, 0
print("ready", flush=True)
while True:
    with duckdb.connect(path, read_only=True, config={"threads": 1}) as con:
        (position, events, tags, moves), = con.execute(
            "SELECT (SELECT position FROM checkpoint), (SELECT count(*) FROM events), "
            "(SELECT count(*) FROM current_tags), (SELECT sum(moves) FROM tag_moves)").fetchall()
    rounds += 1
    if (events, moves or 0) != (position, position) or position < seen:
        sys.exit(f"torn: {(position, events, tags, moves)} after {seen}")
    seen = position
    if position >= int(sys.argv[2]):
        print(rounds)
        break
"""


_P = ParamSpec("_P")


def in_a_loop(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def tagged(position: int, tag: str = "", **fields: Any) -> LogMessage:
    """Return a message: a tag moves to an image of its own."""
    image, pull_spec = f"sha256:{position:064x}", f"r.example/p/api@sha256:{position:064x}"
    told = {"time": TIME, "actor": "ann", "origin": "mapping", "cause": f"c{position}", "reason": ""}
    event = ImageTagged(
        **(told | {"caused_by": None, "number": 1, "last": True, "version": 1} | fields),
        namespace="prod",
        image_stream="api",
        tag=tag or f"v{position % 50}",
        uid="uid-1",
        generation=1,
        image=image,
        previous_image=None,
        pull_spec=pull_spec,
        head=Head(image=image, pull_spec=pull_spec, generation=1, since=TIME, actor="ann", origin="mapping", cause="c"),
        spec=None,
        hold=None,
    )
    return LogMessage(position, "tagstack.events.prod.api.tag.x", msgspec.json.encode(event), f"id-{position}")


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a snapshot, opened as any client does."""
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(sql).fetchall()


@contextmanager
def reading(path: Path, until: int, readers: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Run processes that read the snapshot in a loop until it holds a position."""
    command = [sys.executable, "-c", READER, str(path), str(until)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(readers)
    ]
    try:
        for reader in started:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        yield started
    finally:
        for reader in started:
            reader.kill()
            reader.communicate()
