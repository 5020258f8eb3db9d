"""Logs to test with: a command worker in this process, and commands of every kind sent to it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import nats
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from tagstack.adapters.nats_backup import MessageSource
from tagstack.application.grants import Grants
from tagstack.application.records import Record
from tagstack.apps.commands import CommandsPart
from tagstack.apps.projector import ProjectorPart
from tagstack.apps.settings import Settings
from tagstack.apps.sql import SqlPart

ANSWER_TIMEOUT_S = 15.0
Json = dict[str, Any]


def digest(number: int) -> str:
    """Return an image's digest."""
    return f"sha256:{number:064x}"


def mapping(name: str, number: int, tag: str = "latest") -> Json:
    """Return a mapping of image `number`."""
    image = {"metadata": {"name": digest(number)}, "dockerImageReference": f"r.example/p/{name}@{digest(number)}"}
    return {"kind": "ImageStreamMapping", "metadata": {"name": name}, "image": image, "tag": tag}


def tagging(name: str, kind: str, source: str, **tag: Any) -> Json:
    """Return an istag whose `from` is `source`."""
    spec = {"from": {"kind": kind, "name": source}} | tag
    return {"kind": "ImageStreamTag", "metadata": {"name": name}, "tag": spec}


def about(kind: str, name: str, **fields: Any) -> Json:
    """Return a command that names a tag or an image stream, and little else."""
    return {"kind": kind, "metadata": {"name": name}} | fields


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """Yield a connection."""
    client = await nats.connect(url)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def worker(url: str) -> AsyncIterator[Client]:
    """Run a command worker in this process and yield a client's connection."""
    async with connected(url) as service, connected(url) as client:
        part = CommandsPart(Settings(nats=url), CollectorRegistry())
        await part.start(service)
        await service.flush()  # the client's first flush may overtake its own subscriptions, the second can't
        try:
            yield client
        finally:
            await part.stop()


async def ask(client: Client, target: str, command: Json, **headers: str) -> Json:
    """Send a command to `namespace.image_stream`, see it succeed, and return the Status."""
    subject = f"tagstack.commands.me.{target}"
    body = json.dumps(command).encode()
    reply = await client.request(subject, body, timeout=ANSWER_TIMEOUT_S, headers=headers or None)
    answer: Json = json.loads(reply.data)
    assert answer["status"] == "Success", answer
    return answer


async def do_everything(client: Client, namespace: str = "prod") -> None:
    """Send commands of every kind, so that every type of event is in the log."""
    app = f"{namespace}.app"
    for number in (1, 2, 3):
        await ask(client, app, mapping("app", number))
    mirrored = mapping("app", 3)
    mirrored["image"]["dockerImageReference"] = f"mirror.example/p/app@{digest(3)}"
    await ask(client, app, mirrored)  # another pull spec of the same image
    await ask(client, app, tagging("app:stable", "ImageStreamTag", "latest"))
    await ask(client, app, about("RollbackTag", "app:latest", to={"steps": 1}), **{"Tagstack-Reason": "bad"})
    await ask(client, app, mapping("app", 4))
    await ask(client, app, about("ReleaseTag", "app:latest", advance=True))
    await ask(client, app, about("HoldTag", "app:stable"))
    await ask(client, app, about("DeleteImageStreamTag", "app:stable", force=True))
    await ask(client, app, {"kind": "ImageStream", "metadata": {"name": "app", "labels": {"team": "a"}}, "spec": {}})
    promote = about("PromoteTag", "live:now", **{"from": {"namespace": namespace, "name": "app:latest"}})
    await ask(client, f"{namespace}.live", promote)
    annotated = {"kind": "ImageAnnotations", "metadata": {"name": digest(1), "annotations": {"scan": "clean"}}}
    await ask(client, "_._", annotated)
    for tag in ("a", "b", "c"):
        await ask(client, f"{namespace}.gone", mapping("gone", 5, tag))
    await ask(client, f"{namespace}.gone", about("DeleteImageStream", "gone"))
    await ask(client, f"{namespace}.gone", mapping("gone", 6, "a"))


async def everything(client: Client) -> list[Record]:
    """Return every message of the log."""
    source = await MessageSource(client).start()
    state = await source.state()
    return [record async for page in source.pages(0, state.last) for record in page]


@asynccontextmanager
async def service(url: str, home: Path, *, sql: bool = False) -> AsyncIterator[Client]:
    """Run the workers in this process, the SQL worker too if asked for, and yield a client's connection."""
    settings = Settings(nats=url, home=str(home), snapshot_interval_ms=20)
    parts: list[CommandsPart | ProjectorPart | SqlPart] = [
        CommandsPart(settings, CollectorRegistry()),
        ProjectorPart(settings, CollectorRegistry()),
    ]
    if sql:
        parts.append(SqlPart(settings, Grants(), CollectorRegistry()))
    async with AsyncExitStack() as stack:
        for part in parts:
            await part.start(await stack.enter_async_context(connected(url)))
            stack.push_async_callback(part.stop)
        client = await stack.enter_async_context(connected(url))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while [why for part in parts if (why := part.why_not_ready())]:
                await client.flush()
        yield client


async def shown(client: Client, snapshot: Path) -> Path:
    """Wait until the snapshot includes the log's last event, and return its own path."""
    position = len(await everything(client))
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while True:
            real = Path(os.path.realpath(snapshot))  # noqa: ASYNC240  a link is read at once
            with duckdb.connect(str(real), read_only=True) as con:
                if con.execute("SELECT position FROM checkpoint").fetchall()[0][0] >= position:
                    return real
            await client.flush()
