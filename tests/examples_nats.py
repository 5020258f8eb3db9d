"""Helpers of the tests that run on a real nats-server: workers, a client that asks, and the log as it is stored."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import CollectorRegistry

from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_history import previous_of
from tagstack.adapters.nats_streams import stream_info
from tagstack.application.ports import Request
from tagstack.application.replies import Outcome
from tagstack.apps.commands import CommandsPart
from tagstack.apps.commands import build as build_commands
from tagstack.apps.settings import Settings
from tagstack.domain.errors import Unavailable
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of

WAIT_S = 20.0
ANSWER_WAIT_S = 60.0
Json = dict[str, Any]
_T = TypeVar("_T")

WORKER = (
    "import os; from tagstack.apps.workers import run_worker; from tagstack.apps.settings import read_settings; "
    "run_worker('commands', read_settings(os.environ))"
)


class Record(msgspec.Struct):
    """One stored message."""

    position: int
    subject: str
    headers: dict[str, str]
    body: Json


def digest(number: int) -> str:
    """Return an image's digest."""
    return f"sha256:{number:064x}"


def mapping(name: str, number: int, tag: str = "latest", **more: Any) -> Json:
    """Return a mapping of image `number`."""
    image = {"metadata": {"name": digest(number)}, "dockerImageReference": f"r.example/p/{name}@{digest(number)}"}
    return {"kind": "ImageStreamMapping", "metadata": {"name": name}, "image": image, "tag": tag, **more}


def ago(**duration: float) -> str:
    """Return a time in the past, as `Tagstack-Sent` has it."""
    return text_of(datetime.now(UTC) - timedelta(**duration))


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario to its end."""
    asyncio.run(scenario())


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """A plain NATS connection."""
    client = await nats.connect(url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def worker(url: str, **settings: Any) -> AsyncIterator[CommandsPart]:
    """A command worker in this process, without the queue's subscribers."""
    part = CommandsPart(Settings(nats=url, **settings), CollectorRegistry())
    service = await nats.connect(
        url.split(","),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        error_cb=_ignore,
        reconnected_cb=part.reconnected,
    )
    await part.start(service)
    try:
        yield part
    finally:
        await part.stop()
        await service.close()


@asynccontextmanager
async def queue_worker(url: str) -> AsyncIterator[None]:
    """A whole command worker in this process, as its FastStream application runs it."""
    app = build_commands(Settings(nats=url)).app
    async with app.start_lifespan_context():
        yield


@contextmanager
def worker_process(url: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command worker as a process of its own, to be killed at will. It may not be ready yet."""
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TAGSTACK_NATS": url, "TAGSTACK_HOME": str(home), "TAGSTACK_HTTP_PORT": "0"}
    with (home / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def send(client: Client, target: str, body: bytes, headers: dict[str, str] | None = None) -> Json:
    """Send a body to `actor.namespace.image_stream` and return the Status."""
    reply = await client.request(f"tagstack.commands.{target}", body, timeout=WAIT_S, headers=headers)
    answer: Json = json.loads(reply.data)
    return answer


async def ask(client: Client, target: str, command: Json, headers: dict[str, str] | None = None) -> Json:
    """Send a command to `namespace.image_stream` as actor `me` and return the Status."""
    return await send(client, f"me.{target}", json.dumps(command).encode(), headers)


async def log_of(client: Client, subject: str = "tagstack.events.>", stream: str = "TAGSTACK_EVENTS") -> list[Record]:
    """Return what a stream has stored under a subject, in order; it is waited for while there is none to answer."""
    direct = await DirectGet(client, stream).start()
    messages = await answer_to(lambda: direct.read(subject))
    return [Record(m.position, m.subject, m.headers, json.loads(m.body)) for m in messages]


async def stored_in(client: Client, stream: str) -> int:
    """Return how many messages a stream holds."""
    return int((await stream_info(client, stream))["state"]["messages"])


async def until(holds: Callable[[], Awaitable[Any]], wait_s: float = WAIT_S) -> Any:
    """Wait until something holds, and return it."""
    async with asyncio.timeout(wait_s):
        while True:
            if found := await holds():
                return found
            await asyncio.sleep(0.01)


async def answer_to(read: Callable[[], Awaitable[_T]]) -> _T:
    """Return what a read returns; it is asked again while nobody answers, as just after a node came or went."""
    deadline = time.monotonic() + ANSWER_WAIT_S
    while True:
        try:
            return await read()
        except (NatsError, Unavailable):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


def check_chain(records: list[Record]) -> None:
    """Check that each tag's events of one image stream form one unbroken chain, and that time never goes back."""
    images: dict[str, str | None] = {}
    ends: dict[str, int] = {}
    time = ""
    for record in records:
        event = record.body
        assert event["time"] >= time, f"time goes back at {record.position}"
        time = event["time"]
        previous = previous_of(record.position, record.headers)
        assert previous == ends.get(record.subject, 0), f"the link to the event before breaks at {record}"
        ends[record.subject] = record.position
        if "tag" not in event:
            continue
        assert event["previousImage"] == images.get(event["tag"]), f"the chain of {event['tag']} breaks at {record}"
        images[event["tag"]] = event["image"]


async def _ignore(error: Exception) -> None:
    """Connections break on purpose here."""


async def direct(part: CommandsPart, namespace: str, name: str, command: Json, **more: Any) -> Outcome:
    """Hand a command to one certain worker, as if it had received it."""
    request = Request("me", ImageStreamName(namespace, name), json.dumps(command).encode(), uuid.uuid4().hex, **more)
    return await part.handle(request)
