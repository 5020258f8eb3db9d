"""The `eventsourcing` library on SQLite or PostgreSQL: load the aggregate, move its tag, save; projections too."""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

IMAGE_STREAMS = 1_000
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


class EventSourcing:
    """Pushes through the library, and the two projections in a database of the same kind."""

    def __init__(self, environment: dict[str, str], views: sqlite3.Connection | psycopg.Connection) -> None:
        self._app: Application[Any] = Application(env=environment)
        self._views = views
        mark = "?" if isinstance(views, sqlite3.Connection) else "%s"
        self._moved = [statement.replace("?", mark) for statement in MOVED]
        for table in TABLES:
            views.execute(table)
        self._ids: list[uuid.UUID] = []
        self._count = 0

    def appends_per_s(self, count: int) -> float:
        """Return pushes per second, projections included."""
        while len(self._ids) < IMAGE_STREAMS:
            made = ImageStream()
            self._app.save(made)
            self._ids.append(made.id)
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
        identity, image = self._ids[self._count % IMAGE_STREAMS], f"sha256:{self._count:064x}"
        image_stream: ImageStream = self._app.repository.get(identity)
        image_stream.move("latest", image)
        self._app.save(image_stream)
        row = (str(identity), "latest", image)
        self._views.execute(self._moved[0], row)
        self._views.execute(self._moved[1], (*row, self._count))
        self._views.commit()


def on_sqlite(folder: Path) -> EventSourcing:
    """Return the library on SQLite files in a folder."""
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.sqlite")}
    return EventSourcing(environment, sqlite3.connect(folder / "views.sqlite", check_same_thread=False))


def on_postgresql(folder: Path) -> EventSourcing:
    """Return the library on the PostgreSQL server whose socket is in a folder."""
    told = {"DBNAME": "postgres", "HOST": str(folder), "USER": "bench", "PASSWORD": "none"}
    environment = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}
    environment |= {f"POSTGRES_{name}": value for name, value in told.items()}
    return EventSourcing(environment, psycopg.connect(host=str(folder), user="bench", dbname="postgres"))
