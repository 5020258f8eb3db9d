"""The `eventsourcing` library on SQLite or PostgreSQL: load the aggregate, move its tag, save; projections too.

Loading reads all of an aggregate's events, or those since its last snapshot where it takes snapshots.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

SNAPSHOT_EVERY = 100  # events of an aggregate, where snapshots are taken
TABLES = (
    "CREATE TABLE current_tags (image_stream TEXT, tag TEXT, image TEXT, PRIMARY KEY (image_stream, tag))",
    "CREATE TABLE history (image_stream TEXT, tag TEXT, image TEXT, position INTEGER)",
)
MOVED = (
    "INSERT INTO current_tags VALUES (?, ?, ?) ON CONFLICT (image_stream, tag) DO UPDATE SET image = EXCLUDED.image",
    "INSERT INTO history VALUES (?, ?, ?, ?)",
)


class ImageStream(Aggregate):
    """An image stream with its tags."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    @event("Moved")
    def move(self, tag: str, image: str) -> None:
        """Point a tag at an image."""
        self.tags[tag] = image


class Snapshotting(Application[Any]):
    """The library's application with its own way to keep loading short."""

    snapshotting_intervals: ClassVar = {ImageStream: SNAPSHOT_EVERY}


class EventSourcing:
    """Pushes through the library, and the two projections in a database of the same kind."""

    def __init__(self, app: Application[Any], views: sqlite3.Connection | psycopg.Connection) -> None:
        self._app = app
        self._views = views
        mark = "?" if isinstance(views, sqlite3.Connection) else "%s"
        self._moved = [statement.replace("?", mark) for statement in MOVED]
        for table in TABLES:
            views.execute(table)
        self._ids: list[uuid.UUID] = []
        self._count = 0

    def begin(self, image_streams: int, pushes: int) -> None:
        """Make new image streams, each with so many pushes behind it; they are the ones that are pushed to next."""
        self._ids.clear()
        for _ in range(image_streams):
            made = ImageStream()
            for number in range(pushes):
                made.move("latest", f"sha256:{number:064x}")
            self._app.save(made)
            self._ids.append(made.id)

    def appends_per_s(self, count: int) -> float:
        """Return pushes per second, projections included."""
        began = time.perf_counter()
        for _ in range(count):
            self._push()
        return count / (time.perf_counter() - began)

    def close(self) -> None:
        """Close the connections."""
        self._views.close()
        self._app.close()

    def _push(self) -> None:
        self._count += 1
        identity, image = self._ids[self._count % len(self._ids)], f"sha256:{self._count:064x}"
        image_stream: ImageStream = self._app.repository.get(identity)
        image_stream.move("latest", image)
        self._app.save(image_stream)
        row = (str(identity), "latest", image)
        self._views.execute(self._moved[0], row)
        self._views.execute(self._moved[1], (*row, self._count))
        self._views.commit()


def on_sqlite(folder: Path, application: type[Application[Any]] = Application) -> EventSourcing:
    """Return the library on SQLite files in a new folder."""
    folder.mkdir()
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.sqlite")}
    views = sqlite3.connect(folder / "views.sqlite", check_same_thread=False)
    return EventSourcing(application(env=environment), views)


def on_postgresql(folder: Path) -> EventSourcing:
    """Return the library on the PostgreSQL server whose socket is in a folder."""
    told = {"DBNAME": "postgres", "HOST": str(folder), "USER": "bench", "PASSWORD": "none"}
    environment = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}
    environment |= {f"POSTGRES_{name}": value for name, value in told.items()}
    views = psycopg.connect(host=str(folder), user="bench", dbname="postgres")
    return EventSourcing(Application(env=environment), views)
