"""`tagstack up`: everything on this machine. Starts nats-server and the workers, watches them, stops them.

Each worker is a process of its own; one that dies is started again. Whatever happens to this process,
its children die with it (Linux), and the next `up` continues from what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tagstack.adapters.cancelling import cancelled
from tagstack.adapters.nats_connection import connect, shown
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import declare
from tagstack.apps import http
from tagstack.apps.files import remove, write_atomically
from tagstack.apps.grants_file import read_grants
from tagstack.apps.room import watch_room
from tagstack.apps.settings import Settings
from tagstack.apps.supervision import Child, Children
from tagstack.domain.errors import TagstackError, Unavailable

WORKERS = ("commands", "projector", "sql")
NATS_PORT_USUAL = 4222
READY_TIMEOUT_S = 60.0
READY_GRACE_S = 5.0  # for readers' sake, once commands are taken: read models may take long, or complain
WATCH_INTERVAL_S = 0.25
RETRY_WAIT_S = 2.0  # after a start that failed
DECLARE_TIMEOUT_S = 30.0

_log = logging.getLogger(__name__)


class Endpoints(msgspec.Struct, frozen=True):
    """Where `up` listens, as written to `endpoints.json`."""

    nats: str
    http: str
    snapshot: str
    pid: int


def main(settings: Settings, *, quiet: bool = False) -> None:
    """Run until a signal ends it.

    Raises: SettingsError where a file that a setting names can't be used; Unavailable where another `up` uses
    the same home, or a part does not start.
    """
    _check_files(settings)
    logging.basicConfig(stream=sys.stderr, level=settings.log_level.upper(), format="%(levelname)s %(message)s")
    settings.home_path.mkdir(parents=True, exist_ok=True)
    with locked(settings.home_path):
        remove(settings.endpoints)  # left by one that was killed
        asyncio.run(_run(settings, quiet))


def _check_files(settings: Settings) -> None:
    """Refuse, before anything is started, files that no worker could use. Raises SettingsError."""
    read_grants(settings.grants)
    if settings.projections:
        from tagstack.apps.projections_folder import read_projections  # DuckDB takes long to import

        read_projections(settings)


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home's lock; it goes with the process, so that a crash leaves none."""
    import fcntl

    try:
        opened = (home / "tagstack.lock").open("a+")
    except OSError as error:
        raise Unavailable(f"{home} can't be written: {error.strerror}") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Unavailable(f"another `tagstack up` (pid {lock.read().strip()}) uses {home}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def _run(settings: Settings, quiet: bool) -> None:
    stop = asyncio.Event()
    http.stop_on_signals(stop.set)
    try:
        sock = http.listen(settings.http_port, host=settings.http_host)
    except OSError as error:
        raise Unavailable(f"http-port {settings.http_port} can't be used: {error.strerror}") from error
    server = None if settings.nats else await asyncio.to_thread(_start_server, settings)
    url = server.url if server else settings.nats
    children = Children([_child(name, settings, url) for name in WORKERS])
    web = http.server(_routes(children), lifespan="off")
    serving = asyncio.create_task(web.serve(sockets=[sock]))
    endpoints = Endpoints(url, http.url_of(sock), str(settings.snapshot), os.getpid())
    watching: list[asyncio.Task[None]] = []
    try:
        await _declare(url, settings)
        if server is not None:
            await asyncio.to_thread(server.sync_streams)
        children.start()
        watchers = (_watch(children, server), _watch_room(server, settings))
        watching = [asyncio.create_task(each) for each in watchers]
        lacking = await _ready(children, stop)
        if not stop.is_set():
            write_atomically(settings.endpoints, msgspec.json.encode(endpoints))
            if not quiet:
                print(_banner(settings, endpoints, embedded=server is not None), flush=True)
            if lacking:
                _log.warning("commands are taken, but not everything is ready yet: %s", lacking)
                watching.append(asyncio.create_task(_tell_when_ready(children)))
            await stop.wait()
    finally:
        await cancelled(watching, WATCH_INTERVAL_S)  # first: who is stopped on purpose is not to be started again
        remove(settings.endpoints)
        if not quiet:
            print("stopping ...", flush=True)
        await children.stop(settings.shutdown_timeout_s)
        web.should_exit = True
        await serving
        if server is not None:
            await asyncio.to_thread(server.stop)
        if not quiet:
            print("stopped", flush=True)


def _start_server(settings: Settings) -> NatsServer:
    """Start the embedded server on its port, or on any free one where the usual one is taken."""
    folder = settings.home_path / "nats"
    port = NATS_PORT_USUAL if settings.nats_port is None else settings.nats_port
    options = ServerOptions(port=port, sync_interval=settings.sync_interval, memory_mb=settings.server_memory_mb)
    try:
        return NatsServer(folder, options).start()
    except Unavailable as error:
        if settings.nats_port is not None or "address already in use" not in str(error):
            raise
    return NatsServer(folder, msgspec.structs.replace(options, port=0)).start()


async def _declare(url: str, settings: Settings) -> None:
    try:
        async with asyncio.timeout(DECLARE_TIMEOUT_S):
            nc = await connect(url, "tagstack-up", patient=False, credentials=settings.nats_credentials)
            try:
                await declare(nc, settings.replicas)
            finally:
                await nc.close()
    except TimeoutError:
        raise Unavailable(f"the streams were not declared within {DECLARE_TIMEOUT_S:.0f} s") from None


def _child(name: str, settings: Settings, url: str) -> Child:
    """Return a worker to be started; it gets every setting of ours through its environment."""
    ours = msgspec.structs.replace(settings, nats=url, http_port=0, home=str(settings.home_path))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")}
    for field in Settings.__struct_fields__:
        if (value := getattr(ours, field)) not in (None, ""):
            environment[f"TAGSTACK_{field.upper()}"] = str(value)
    command = [sys.executable, "-m", "tagstack", "worker", name]
    home = settings.home_path
    return Child(name, command, environment, home / "logs" / f"{name}.log", home / "run" / f"{name}.json")


async def _watch(children: Children, server: NatsServer | None) -> None:
    """Start again what died, until everything is stopped on purpose."""
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        try:
            if server is not None and not server.running():
                _log.warning("nats-server ended unexpectedly; starting it again")
                await asyncio.to_thread(server.start)
            children.revive()
        except (TagstackError, OSError) as error:  # no room, no descriptor left, a disk that became read-only
            _log.error("%s; trying again", error)
            await asyncio.sleep(RETRY_WAIT_S)


async def _watch_room(server: NatsServer | None, settings: Settings) -> None:
    """Watch over the embedded server's disk; a server of someone else's is theirs to watch."""
    while server is not None:
        try:
            nc = await connect(server.url, "tagstack-up", credentials=settings.nats_credentials)
            try:
                await watch_room(server, nc)
            finally:
                await nc.close()
        except (TagstackError, OSError) as error:
            _log.error("the disk is not watched: %s; trying again", error)
            await asyncio.sleep(RETRY_WAIT_S)


async def _ready(children: Children, stop: asyncio.Event) -> str:
    """Wait until every worker is ready, or commands have been taken for a while. Return what is lacking then."""
    usable_since: float | None = None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not stop.is_set():
                state = await children.readiness()
                usable_since = (usable_since or time.monotonic()) if state.usable else None
                if not state.why or (usable_since and time.monotonic() - usable_since >= READY_GRACE_S):
                    return state.why
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_INTERVAL_S / 5):
                        await stop.wait()
    except TimeoutError:
        raise Unavailable(f"not ready within {READY_TIMEOUT_S:.0f} s: {state.why}") from None
    return ""


async def _tell_when_ready(children: Children) -> None:
    while True:
        await asyncio.sleep(WATCH_INTERVAL_S)
        if not (await children.readiness()).why:
            _log.info("everything is ready now")
            return


def _routes(children: Children) -> Any:
    """Return the ASGI app of `up` itself, which asks the workers."""
    from faststream.asgi import AsgiFastStream

    known = {"why": "starting"}

    async def metrics() -> bytes:
        known["why"] = (await children.readiness()).why
        return await children.metrics()

    app = AsgiFastStream(logger=None, asgi_routes=http.health_routes(lambda: known["why"], metrics))

    async def fresh(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/readyz":
            known["why"] = (await children.readiness()).why
        await app(scope, receive, send)

    return fresh


def _banner(settings: Settings, endpoints: Endpoints, *, embedded: bool) -> str:
    home = settings.home_path
    return f"""tagstack is up. Ctrl-C stops it.

  NATS      {shown(endpoints.nats)}{"  (embedded, loopback only)" if embedded else ""}
  HTTP      {endpoints.http}  (/healthz /readyz /metrics)
  SQL file  {endpoints.snapshot}  (read-only, renewed while events come)
  home      {home}  (logs in {home / "logs"})

In a second terminal:

  export TAGSTACK_HOME={home}
  tagstack apply -f mapping.yaml                  put an image at a tag
  tagstack get is -A                              image streams
  tagstack history NAMESPACE/STREAM:TAG           every image a tag ever pointed at
  tagstack rollback NAMESPACE/STREAM:TAG --reason 'why'
  tagstack watch                                  changes as they happen
  tagstack sql 'FROM current_tags'                ask anything
"""
