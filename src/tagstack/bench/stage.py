"""The stage: a home, a nats-server and workers of their own, which leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_server import NatsServer, ServerOptions, die_with_parent
from tagstack.adapters.nats_streams import declarations, declare, jetstream
from tagstack.adapters.nats_wire import WireTransport
from tagstack.adapters.snapshot_file import NAME
from tagstack.domain.errors import TagstackError, Unavailable

READY_TIMEOUT_S = 60.0
POLL_S = 0.05
STOP_TIMEOUT_S = 10.0
RAW, BARE = "bench", "bare"  # logs for the baselines: as ours is, and without the stream of tags behind it


class Stage:
    """Where everything is measured. Its parts die with this process, whatever happens to it."""

    replicas = 1

    def __init__(self, sync_interval: str = "1s") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tagstack-bench-"))
        self.server = NatsServer(self.home / "nats", ServerOptions(sync_interval=sync_interval))
        self.settings: dict[str, str] = {}  # of the workers that are started next
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._nc: Client | None = None
        self._transport: WireTransport | None = None

    @property
    def nc(self) -> Client:
        """Return the plain connection, which the baselines use."""
        assert self._nc is not None, "set up"
        return self._nc

    @property
    def transport(self) -> WireTransport:
        """Return the connection that sends the load."""
        assert self._transport is not None, "set up"
        return self._transport

    async def set_up(self) -> None:
        """Start the server and declare the log, and its like for the baselines."""
        await asyncio.to_thread(self.server.start)
        self._nc = await connect(self.server.url, "tagstack-bench-raw", patient=False)
        await declare(self._nc, self.replicas)
        for stream in _raw_declarations():
            answer = await jetstream(self._nc, f"STREAM.CREATE.{stream['name']}", stream)
            if "error" in answer:
                raise TagstackError(f"stream {stream['name']} can't be declared: {answer['error']['description']}")
        self._transport = await WireTransport(self.server.url, "tagstack-bench").connect()

    async def start_worker(self, name: str, path: str = "readyz") -> None:
        """Start a worker process and wait until it is ready; with `healthz`, only until it runs."""
        (self.home / "run" / f"{name}.json").unlink(missing_ok=True)
        self._spawn(name)
        await asyncio.to_thread(self._until_ready, name, path)

    def forget_read_models(self) -> None:
        """Remove the projector's own files, so that it builds them anew; readers keep their snapshot."""
        shutil.rmtree(self.home / "read-models", ignore_errors=True)

    @property
    def snapshot(self) -> Path:
        """Return the path of the newest snapshot, a link on the way to it resolved."""
        return (self.home / "live").resolve() / NAME

    def _spawn(self, name: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")}
        environment |= {"TAGSTACK_HOME": str(self.home), "TAGSTACK_NATS": self.server.url, "TAGSTACK_HTTP_PORT": "0"}
        environment["TAGSTACK_REPLICAS"] = str(self.replicas)
        environment["TAGSTACK_SYNC_INTERVAL"] = self.server.options.sync_interval
        environment |= self.settings
        with (self.home / f"{name}.log").open("ab") as log:
            self._workers[name] = subprocess.Popen(
                [sys.executable, "-m", "tagstack", "worker", name],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def process_of(self, name: str) -> int:
        """Return the process id of a worker that was started."""
        return self._workers[name].pid

    def memory_mb(self, name: str, *, now: bool = False) -> float:
        """Return the most memory a worker, or the `server`, has held, or holds `now`, in MB; 0 where it is not told."""
        process = self.server.process if name == "server" else self._workers[name]
        try:
            told = Path(f"/proc/{process.pid if process else 0}/status").read_text()
        except OSError:
            return 0.0
        return int(told.partition("VmRSS:" if now else "VmHWM:")[2].split()[0]) / 1024

    def stop_worker(self, name: str) -> None:
        """Stop a worker process, if it runs."""
        worker = self._workers.pop(name, None)
        if worker is None:
            return
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    async def tear_down(self) -> None:
        """End everything and remove the home; nothing of it is worth a wait, and Ctrl-C ends up here."""
        try:
            if self._transport is not None:
                await self._transport.close()
            if self._nc is not None:
                await self._nc.close()
        finally:
            for worker in self._workers.values():
                worker.kill()
                worker.wait()
            self._workers.clear()
            self.server.kill()
            shutil.rmtree(self.home, ignore_errors=True)

    def _until_ready(self, name: str, path: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        told = self.home / "run" / f"{name}.json"
        while time.monotonic() < deadline:
            if self._workers[name].poll() is not None:
                break
            if told.exists() and _answers(msgspec.json.decode(told.read_bytes())["http"] + f"/{path}"):
                return
            time.sleep(POLL_S)
        last = (self.home / f"{name}.log").read_text(errors="replace")[-500:]
        raise Unavailable(f"worker {name} is not ready: {last}")


@asynccontextmanager
async def stage(sync_interval: str = "1s") -> AsyncIterator[Stage]:
    """Set up a stage, and take it down whatever happens."""
    built = Stage(sync_interval)
    try:
        await built.set_up()
        yield built
    finally:
        await built.tear_down()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=READY_TIMEOUT_S) as answer:  # noqa: S310 our own address
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _raw_declarations() -> list[dict[str, Any]]:
    """Return the log and its stream of tags once more, and the log alone, under other names and subjects."""
    streams: list[dict[str, Any]] = []
    for name, count in ((RAW, 2), (BARE, 1)):
        ours = msgspec.json.encode(declarations()[:count]).decode()
        ours = ours.replace("TAGSTACK_", f"{name.upper()}_").replace("tagstack.", f"{name}.")
        streams += msgspec.json.decode(ours)
    return streams
