"""The write side of the service on a thread of its own, and the command line run against it in-process."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_intake import CommandIntake
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_queries import QueryIntake
from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_streams import declare
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.queries import Queries
from tagstack.cli.main import run
from tagstack.domain.times import text_of

SAMPLES = Path(__file__).parents[1] / "samples"
WAIT_S = 20.0


class Result(msgspec.Struct, frozen=True):
    """What a run of the command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return stdout as JSON."""
        return json.loads(self.out)


class Service:
    """Commands and queries answered by the real parts, on a real nats-server."""

    def __init__(self, server: NatsServer) -> None:
        self.url = server.url
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.call(self._start())

    def call(self, work: Any) -> Any:
        """Run a coroutine on the service's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def stop(self) -> None:
        """Stop taking commands."""
        self.call(self.nc.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    async def _start(self) -> None:
        self.nc = await connect(self.url, "test-service")
        await declare(self.nc)
        log = await NatsLog(self.nc).start()
        around = Surroundings(lambda: text_of(datetime.now(UTC)), lambda: str(uuid.uuid4()), Grants())
        await CommandIntake(PlainTransport(self.nc), CommandHandler(log, around).handle, 100).start()
        await QueryIntake(self.nc, Queries(log, Grants())).start()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The write side of the service, one for a module; every test has a namespace of its own."""
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    running = Service(server)
    yield running
    running.stop()
    server.stop()


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"ns-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def tagstack(
    service: Service,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Result]:
    """Run the command line against the service, in the test's own namespace."""
    monkeypatch.setenv("TAGSTACK_SERVER", service.url)
    monkeypatch.setenv("TAGSTACK_NAMESPACE", namespace)
    monkeypatch.setenv("TAGSTACK_ACTOR", "alice")
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))

    def running(*arguments: str) -> Result:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return running


def digest(letter: str) -> str:
    """Return a digest made of one hexadecimal digit."""
    return f"sha256:{letter * 64}"


def mapping(name: str, image: str, **more: Any) -> dict[str, Any]:
    """Return the command that puts an image at a tag; `name` is `stream:tag`."""
    stream, _, tag = name.partition(":")
    found = {"metadata": {"name": image}, "dockerImageReference": f"registry.test/{stream}@{image}"}
    return {"kind": "ImageStreamMapping", "metadata": {"name": stream}, "tag": tag, "image": found | more}


Push = Callable[..., Result]


@pytest.fixture
def push(tagstack: Callable[..., Result], tmp_path: Path) -> Push:
    """Put an image at a tag through `tagstack apply`."""

    def pushing(name: str, image: str, *options: str) -> Result:
        file = tmp_path / "mapping.json"
        file.write_text(json.dumps(mapping(name, image)))
        return tagstack("apply", "-f", str(file), *options)

    return pushing
