"""The `eventsourcing` library on SQLite: load the aggregate, move its tag, save; projections in the same file."""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

IMAGE_STREAMS = 1_000
SCHEMA = """
CREATE TABLE current_tags (image_stream TEXT, tag TEXT, image TEXT, PRIMARY KEY (image_stream, tag));
CREATE TABLE history (image_stream TEXT, tag TEXT, image TEXT, position INTEGER);
"""


class ImageStream(Aggregate):
    """An image stream with its tags."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    @event("Moved")
    def move(self, tag: str, image: str) -> None:
        """Point a tag at an image."""
        self.tags[tag] = image


class EventSourcing:
    """Pushes through the library, and the two projections."""

    def __init__(self, path: Path) -> None:
        environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
        self._app: Application[Any] = Application(env=environment)
        self._views = sqlite3.connect(path.with_suffix(".views"), check_same_thread=False)
        self._views.executescript(SCHEMA)
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
        """Close the files."""
        self._views.close()
        self._app.close()

    def _push(self) -> None:
        self._count += 1
        identity, image = self._ids[self._count % IMAGE_STREAMS], f"sha256:{self._count:064x}"
        image_stream: ImageStream = self._app.repository.get(identity)
        image_stream.move("latest", image)
        self._app.save(image_stream)
        row = (str(identity), "latest", image)
        self._views.execute("INSERT OR REPLACE INTO current_tags VALUES (?, ?, ?)", row)
        self._views.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (*row, self._count))
        self._views.commit()
