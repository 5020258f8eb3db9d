"""PostgreSQL with a statement trigger: events copied in batches, current tags and history kept by the trigger."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

import psycopg

IMAGE_STREAMS = 1_000
IMAGES = 64
SCHEMA = """
CREATE TABLE events (position bigint PRIMARY KEY, image_stream text, tag text, image text, data jsonb);
CREATE TABLE current_tags (image_stream text, tag text, image text, position bigint, PRIMARY KEY (image_stream, tag));
CREATE TABLE history (image_stream text, tag text, image text, position bigint);
CREATE INDEX ON history (image_stream, tag, position);
CREATE FUNCTION fold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO history SELECT image_stream, tag, image, position FROM batch;
    INSERT INTO current_tags
        SELECT DISTINCT ON (image_stream, tag) image_stream, tag, image, position
        FROM batch ORDER BY image_stream, tag, position DESC
    ON CONFLICT (image_stream, tag) DO UPDATE SET image = EXCLUDED.image, position = EXCLUDED.position;
    RETURN NULL;
END $$;
CREATE TRIGGER fold AFTER INSERT ON events REFERENCING NEW TABLE AS batch FOR EACH STATEMENT EXECUTE FUNCTION fold();
"""
DATA = '{"actor": "bench", "reason": "", "origin": "mapping", "head": {"image": "%s", "since": "2026-01-01"}}'


def _program(name: str) -> str | None:
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))


def installed() -> bool:
    """Return whether PostgreSQL's server is there."""
    return _program("initdb") is not None and _program("postgres") is not None


class PostgreSQL:
    """A server of its own in a folder, gone at the end; it does not run as root, so another user does it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._count = 0
        root = os.geteuid() == 0
        self._user = "postgres" if root else None
        if root:
            owner = pwd.getpwnam("postgres")
            folder.chmod(0o755)
            self._folder.mkdir()
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)

    def __enter__(self) -> Self:
        """Start the server and make the tables."""
        initdb = [str(_program("initdb")), "-D", str(self._folder), "-U", "bench", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, user=self._user, check=True, capture_output=True, cwd="/")
        server = [str(_program("postgres")), "-D", str(self._folder), "-h", "", "-k", str(self._folder)]
        self._server = subprocess.Popen(server, user=self._user, stderr=subprocess.DEVNULL, cwd="/")
        self._connection = self._connect()
        self._connection.execute(SCHEMA)
        self._connection.commit()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._connection.close()
        self._server.terminate()
        self._server.wait(30)

    def events_per_s(self, count: int, size: int) -> float:
        """Return events per second, copied and folded in transactions of `size`."""
        began = time.perf_counter()
        for _ in range(count // size):
            with self._connection.cursor() as cursor, cursor.copy("COPY events FROM STDIN") as copy:
                for _ in range(size):
                    self._count += 1
                    image = f"sha256:{self._count % IMAGES:064x}"
                    copy.write_row((self._count, f"app{self._count % IMAGE_STREAMS}", "latest", image, DATA % image))
            self._connection.commit()
        return count / (time.perf_counter() - began)

    def _connect(self) -> psycopg.Connection:
        for _ in range(200):
            try:
                return psycopg.connect(host=str(self._folder), user="bench", dbname="postgres")
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise TimeoutError("PostgreSQL did not start")
