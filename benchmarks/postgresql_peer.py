"""PostgreSQL with a statement trigger: events copied in batches, current tags and history kept by the trigger."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import psycopg

from tagstack.application.read_models import LogMessage

SCHEMA = Path(__file__).with_name("postgresql_peer.sql")
# what the machine has to give, and no wait for the disk at a commit: a rebuild of read models has none either
SETTINGS = {
    "shared_buffers": "1GB",
    "work_mem": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "synchronous_commit": "off",
}
COLUMNS = "namespace image_stream tag position time is_entry image pull_spec generation since origin actor reason cause"


def _program(name: str) -> str | None:
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))


def installed() -> bool:
    """Return whether PostgreSQL's server is there."""
    return _program("initdb") is not None and _program("postgres") is not None


class PostgreSQL:
    """A server of its own in a folder, gone at the end; it does not run as root, so another user does it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            folder.chmod(0o755)
            self.folder.mkdir()
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)

    def __enter__(self) -> Self:
        """Start the server."""
        initdb = [str(_program("initdb")), "-D", str(self.folder), "-U", "bench", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*initdb, "--locale=C"], user=self._user, check=True, capture_output=True, cwd="/")
        server = [str(_program("postgres")), "-D", str(self.folder), "-h", "", "-k", str(self.folder)]
        chosen = [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._server = subprocess.Popen([*server, *chosen], user=self._user, stderr=subprocess.DEVNULL, cwd="/")
        self.connection = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.connection.close()
        self._server.terminate()
        self._server.wait(60)

    def _connect(self) -> psycopg.Connection:
        for _ in range(200):
            try:
                return psycopg.connect(host=str(self.folder), user="bench", dbname="postgres")
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise TimeoutError("PostgreSQL did not start")


class Fold:
    """Keeps current tags and history in a schema of their own.

    `ready`: the columns were read from the events before, at nobody's expense; else the trigger does it.
    """

    def __init__(self, server: PostgreSQL, schema: str, *, ready: bool) -> None:
        self._connection, self.schema, self._ready = server.connection, schema, ready
        self._connection.execute(f"CREATE SCHEMA {schema}")
        self._connection.execute(f"SET search_path TO {schema}")
        self._connection.execute(SCHEMA.read_text())
        if ready:
            self._connection.execute("ALTER TABLE events DISABLE TRIGGER fold")
        self._connection.commit()

    def fold(self, messages: Sequence[LogMessage], size: int) -> float:
        """Return events per second in transactions of `size`."""
        self._connection.execute(f"SET search_path TO {self.schema}")
        batches = [messages[start : start + size] for start in range(0, len(messages), size)]
        if self._ready:
            rows = [[_row(message) for message in batch] for batch in batches]
            began = time.perf_counter()
            for batch, ready in zip(batches, rows, strict=True):
                self._copy("events (position, data)", [(each.position, each.body.decode()) for each in batch])
                self._copy(f"tag_changes ({COLUMNS.replace(' ', ', ')})", [row for row in ready if row])
                self._connection.commit()
        else:
            began = time.perf_counter()
            for batch in batches:
                self._copy("events (position, data)", [(each.position, each.body.decode()) for each in batch])
                self._connection.commit()
        return len(messages) / (time.perf_counter() - began)

    def _copy(self, target: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _row(message: LogMessage) -> tuple[Any, ...] | None:
    event = msgspec.json.decode(message.body)
    if event["type"] != "image_tagged":
        return None
    place = (event["namespace"], event["imageStream"], event["tag"], message.position, event["time"])
    state = (event["image"] != event["previousImage"], event["image"], event["pullSpec"], event["generation"])
    return (*place, *state, event["head"]["since"], *(event[name] for name in ("origin", "actor", "reason", "cause")))
