"""An image stream whose deletion was cut half-way: gone for every reader, and finished by whoever loads it next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_streams import TAGS_STREAM, declare
from tagstack.application import handler as handling
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.queries import Queries, Query
from tagstack.application.read_models import LogMessage
from tagstack.apps.commands import now
from tagstack.domain import deletion
from tagstack.domain.errors import NotFound, Refused, Unavailable
from tests.examples_nats import Json, client_of, log_of, mapping, run, until
from tests.integration.reading import MODELS
from tests.integration.test_append import Dying, handler_of, request

TAGS = 50
TOGETHER = 10  # tags per batch, so that the deletion takes several
NAMES = [f"t{number:02d}" for number in range(TAGS)]
DELETE: Json = {"kind": "DeleteImageStream", "metadata": {"name": "api"}}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: Any) -> None:
    """Let one batch carry few tags."""
    monkeypatch.setattr(handling, "TAGS_PER_COMMAND_MAX", TOGETHER)
    monkeypatch.setattr(deletion, "TAGS_PER_COMMAND_MAX", TOGETHER)


@asynccontextmanager
async def half_deleted(url: str) -> AsyncIterator[Client]:
    """A log in which `prod/api` is deleted, and most of its tags are not yet."""
    async with client_of(url) as client:
        await declare(client)
        writer = await handler_of(client, now)
        await asyncio.gather(*(writer.handle(request(mapping("api", n, name))) for n, name in enumerate(NAMES)))
        log = await Dying(client).start()
        log.appends_max = 2
        with pytest.raises(Unavailable):
            await CommandHandler(log, Surroundings(now, lambda: "u", Grants())).handle(request(DELETE, "delete"))
        assert len(await deleted_tags(client)) == 2 * TOGETHER - 1
        yield client


async def deleted_tags(client: Client) -> list[str]:
    """Return the tags that the log says are deleted."""
    return [event.body["tag"] for event in await log_of(client) if event.body["type"] == "tag_deleted"]


def test_it_is_gone_at_once_for_whoever_asks(nats_url: str) -> None:
    """Neither the image stream nor a tag is found or listed, nor as of now; its history is there.

    Seen to fail when `Queries._history` does not ask whether the image stream exists.
    """

    async def scenario() -> None:
        async with half_deleted(nats_url) as client:
            queries = Queries(await NatsLog(client).start(), Grants())
            for kind, name in [("ImageStream", "api"), *(("ImageStreamTag", f"api:{name}") for name in NAMES)]:
                with pytest.raises(NotFound):
                    await queries.answer("me", "prod", Query(kind, name))
            for kind in ("ImageStream", "ImageStreamTag", "ImageTag", "AsOf"):
                assert (await queries.answer("me", "prod", Query(kind, time=now())))["items"] == []
            for name in NAMES:
                [row] = (await queries.answer("me", "prod", Query("History", f"api:{name}")))["items"]
                assert row["deleted"] is not None

    run(scenario)


def test_it_is_gone_at_once_in_sql(nats_url: str) -> None:
    """No tag is current or as of now, and every entry of the history is marked as deleted.

    Seen to fail when `projections/current_tags/apply.sql` waits for each `tag_deleted`.
    """

    async def scenario() -> None:
        async with half_deleted(nats_url) as client:
            stored = await (await DirectGet(client).start()).read(">")
            messages = [LogMessage(each.position, each.subject, each.body, each.headers["ce-id"]) for each in stored]
            models = ReadModelFile(Path(":memory:"), MODELS)
            for batch in (messages[: -2 * TOGETHER], messages[-2 * TOGETHER :]):
                models.fold(batch, "log")
            for relation in ("current_tags", f"tags_as_of('{now()}')"):
                assert models.connection.execute(f"FROM {relation}").fetchall() == []
            told = models.connection.execute("SELECT count(*), count(deleted) FROM tag_history").fetchall()
            assert told == [(TAGS, TAGS)]
            models.close()

    run(scenario)


@pytest.mark.parametrize(
    "command",
    [
        DELETE,
        {"kind": "HoldTag", "metadata": {"name": f"api:{NAMES[-1]}"}},
        mapping("api", 1, NAMES[-1]),
        mapping("api", 1, "new"),
    ],
    ids=["delete", "hold", "push", "push of a new tag"],
)
def test_whoever_loads_it_next_finishes_it_first(nats_url: str, command: Json) -> None:
    """Every tag is deleted once, before what the next command does, even if that is refused.

    Seen to fail when `CommandHandler._carry_out` does not call `_finish_deletion`.
    """

    async def scenario() -> None:
        async with half_deleted(nats_url) as client:
            next_worker = await handler_of(client, now)
            try:
                done = await next_worker.handle(request(command, "next"))
                assert [move["previousImage"] for move in done.moves] == [None]
            except Refused as refused:
                assert refused.reason == "NotFound"
                assert command["kind"] != "ImageStreamMapping"
            assert sorted(await deleted_tags(client)) == NAMES
            finished = [event.body["last"] for event in await log_of(client) if event.body["cause"] == "delete"]
            assert finished == [False] * TAGS + [True]

            async def kept() -> bool:
                tags = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
                alive = [tag.body["tag"] for tag in tags if tag.body["image"] is not None]
                return alive == ([command["tag"]] if "tag" in command else [])

            await until(kept)

    run(scenario)
