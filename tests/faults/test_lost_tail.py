"""What if the log lost its tail? Everything derived from it notices, and says again what the log says."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_streams import TAGS_STREAM
from tagstack.adapters.nats_tags import TagsKeeper
from tagstack.apps import verify
from tagstack.domain.errors import Unavailable
from tests.examples_nats import Json, ask, check_chain, client_of, digest, log_of, mapping, run, until, worker
from tests.faults.test_lost_answers import answered
from tests.integration.test_followers import following
from tests.integration.test_projector import position, projector

# nats-py leaves a socket open where a server stops in the middle of a greeting
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*StreamWriter")

LOG = Path("js/jetstream/$G/streams/TAGSTACK_EVENTS")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: Any) -> None:
    """Wait less for what may be copied in a moment."""
    monkeypatch.setattr(verify, "TAGS_WAIT_S", 1.0)


async def complaints(client: Client, snapshot: Path | None = None) -> list[str]:
    """Return what is wrong with the log, the last event of each tag, and the read models."""
    verifier = verify.Verifier()
    try:
        await verifier.log(client, snapshot)
    except Unavailable as error:  # TAGSTACK_TAGS is being made anew
        return [str(error)]
    report = verifier.report()
    assert snapshot is None or not [checked for checked in report.checked if checked.not_checked], report
    return [f"{found.check}: {found.detail}" for found in report.complaints]


async def remember(server: NatsServer, copy: Path) -> None:
    """Keep a copy of the log's files as they are now."""
    await asyncio.to_thread(server.stop)
    shutil.copytree(server.folder / LOG, copy)
    await asyncio.to_thread(server.start)


async def lose_tail(server: NatsServer, copy: Path) -> None:
    """Bring the log's files back as they were, and leave those of every other stream as they are."""
    await asyncio.to_thread(server.stop)
    shutil.rmtree(server.folder / LOG)
    shutil.copytree(copy, server.folder / LOG)
    await asyncio.to_thread(server.start)


async def copied(client: Client, last: Json) -> bool:
    """Return whether TAGSTACK_TAGS has got to an event."""
    tags = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
    return any(int(tag.headers["Nats-Stream-Source"].split()[1]) == last["details"]["position"] for tag in tags)


async def shown(home: Path, last: Json) -> bool:
    """Return whether readers see the read models as an event left them."""
    return position(home) == last["details"]["position"]


async def followed(client: Client, image: str) -> bool:
    """Return whether the tag that follows has got to an image."""
    [*_, last] = await log_of(client, "tagstack.events.prod.live.tag.latest")
    return bool(last.body["image"] == image)


@pytest.mark.parametrize("more", [1, 12])
def test_a_running_service_notices_that_the_log_lost_its_tail(
    nats_server: NatsServer, tmp_path: Path, more: int
) -> None:
    """Worker and projector live through it: fewer or more events take the place of the lost ones, all agrees.

    Seen to fail when `TagsKeeper._compare` looks at no more than where both ends are.
    """

    async def scenario() -> None:
        url, home = nats_server.url, tmp_path / "home"
        async with worker(url), projector(url, home), client_of(url) as client:
            await answered(client, mapping("api", 1))
            await ask(client, "prod.live", following("live", "prod", "api:followed"))
            await remember(nats_server, tmp_path / "copy")
            for number in range(2, 8):
                lost = await answered(client, mapping("api", number, f"t{number}"))
            await until(lambda: copied(client, lost))
            await until(lambda: shown(home, lost))
            await lose_tail(nats_server, tmp_path / "copy")
            for number in range(100, 100 + more):
                await answered(client, mapping("api", number, f"new{number}"))

            async def clean() -> bool:
                return await complaints(client, home / "live" / "tagstack.duckdb") == []

            await until(clean, 60)
            check_chain(await log_of(client, "tagstack.events.prod.api.>"))
            tags = {tag.body["image"] for tag in await log_of(client, "tagstack.tags.>", TAGS_STREAM)}
            assert tags == {None} | {digest(number) for number in [1, *range(100, 100 + more)]}
            moved = await answered(client, mapping("api", 500))
            assert moved["details"]["moves"][0]["previousImage"] == digest(1)
            await answered(client, mapping("api", 501, "followed"))
            await until(lambda: followed(client, digest(501)))

    run(scenario)


def test_what_was_written_before_anyone_looked_is_compared_too(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: Any
) -> None:
    """More events than were lost are in the log and copied before a worker looks: the gap is found at its start.

    Seen to fail when `TagsKeeper._compare` looks at no more than where both ends are.
    """

    async def scenario() -> None:
        url = nats_server.url
        async with worker(url), client_of(url) as client:
            await answered(client, mapping("api", 1))
            await remember(nats_server, tmp_path / "copy")
            for number in range(2, 5):
                lost = await answered(client, mapping("api", number, f"t{number}"))
            await until(lambda: copied(client, lost))
        await lose_tail(nats_server, tmp_path / "copy")
        with monkeypatch.context() as blind:
            blind.setattr(TagsKeeper, "check", _nothing)
            async with worker(url), client_of(url) as client:
                for number in range(100, 120):
                    last = await answered(client, mapping("api", number, f"t{number}"))
                await until(lambda: copied(client, last))
        async with client_of(url) as client:
            assert any(told.startswith("tags:") for told in await complaints(client))
            async with worker(url):
                assert await complaints(client) == []

    run(scenario)


async def _nothing(keeper: TagsKeeper) -> None:
    """Look away."""


def test_two_workers_that_notice_it_at_once_are_harmless(nats_server: NatsServer, tmp_path: Path) -> None:
    """Both make TAGSTACK_TAGS anew; in the end it is there, and says what the log says.

    Seen to fail when `TagsKeeper.check` deletes TAGSTACK_TAGS and does not declare it.
    """

    async def scenario() -> None:
        url = nats_server.url
        async with worker(url), worker(url), client_of(url) as client:
            await answered(client, mapping("api", 1))
            await remember(nats_server, tmp_path / "copy")
            lost = await answered(client, mapping("api", 2, "lost"))
            await until(lambda: copied(client, lost))
            await lose_tail(nats_server, tmp_path / "copy")

            async def clean() -> bool:
                tags = await log_of(client, "tagstack.tags.>", TAGS_STREAM)
                return [tag.body["image"] for tag in tags] == [digest(3)] and await complaints(client) == []

            await answered(client, mapping("api", 3))
            await until(clean, 60)

    run(scenario)
