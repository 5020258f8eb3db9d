"""What if an answer is lost while a worker learns who follows whom, or hears of a move? The follower moves anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.client import Client

from tagstack.adapters import nats_direct, nats_followers, nats_reader
from tagstack.adapters.nats_followers import CONSUMER
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream
from tests.examples_nats import Json, ask, client_of, digest, log_of, mapping, run, until, worker
from tests.faults.proxy import CHUNK_BYTES, Proxy, proxy_before


class CuttingProxy(Proxy):
    """Can also cut a connection in the middle of what the server says."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._unsaid = b""

    def cut_before(self, words: bytes) -> None:
        """Lose these words of the server's, and all after them, then cut."""
        self._unsaid = words

    async def _downward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: asyncio.Event) -> None:
        while data := await reader.read(CHUNK_BYTES):
            at = data.find(self._unsaid) if self._unsaid else -1
            if not cut.is_set():
                writer.write(data if at < 0 else data[:at])
                await writer.drain()
            if at >= 0:
                self._unsaid = b""
                self.lost += 1
                return


@pytest.fixture(autouse=True)
def impatient(monkeypatch: Any) -> None:
    """Wait less for what will never come, in the same order; and learn in several steps."""
    monkeypatch.setattr(nats_reader, "LAST_WAIT_S", 0.2)
    monkeypatch.setattr(nats_reader, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(nats_reader, "LAST_LIMITS", nats_reader.ReaderLimits(messages=3))
    monkeypatch.setattr(nats_direct, "READ_TIMEOUT_S", 1.0)
    monkeypatch.setattr(nats_followers, "PULL_EXPIRES_S", 1.0)
    monkeypatch.setattr(nats_followers, "BATCH_MESSAGES_MAX", 3)


def following(source: str) -> Json:
    """Return an istag that follows a tag of project dev."""
    origin = {"kind": "ImageStreamTag", "namespace": "dev", "name": source}
    spec = {"from": origin, "annotations": {"tagstack.dev/follow": "true"}}
    return {"kind": "ImageStreamTag", "metadata": {"name": "app:latest"}, "tag": spec}


async def all_heard(client: Client) -> bool:
    """Return whether every tag event is acknowledged by who feeds the followers."""
    info = await jetstream(client, f"CONSUMER.INFO.{EVENTS_STREAM}.{CONSUMER}")
    return info["num_pending"] == 0 and info["num_ack_pending"] == 0


async def moves_of(client: Client, namespace: str) -> list[str]:
    """Return the images that a project's tag was moved to."""
    events = await log_of(client, f"tagstack.events.{namespace}.app.tag.latest")
    return [event.body["image"] for event in events if event.body["type"] == "image_tagged"]


async def follow(url: str, client: Client) -> None:
    """Let two tags follow two others, and return when that has been heard."""
    async with worker(url):
        for name in ("none", "one", "two"):
            await ask(client, f"dev.{name}", mapping(name, 1))
        for namespace, source in (("a", "one:latest"), ("b", "two:latest")):
            await ask(client, f"{namespace}.app", following(source))
        await until(lambda: all_heard(client))


async def accepted(client: Client, name: str) -> bool:
    """Move a source, and return whether that was accepted: the answer to its worker may have been lost as well."""
    answer = await ask(client, f"dev.{name}", mapping(name, 2), {"Tagstack-Command-Id": f"move-{name}"})
    return bool(answer["status"] == "Success")


async def both_followed(client: Client) -> bool:
    """Return whether both followers have moved with their sources."""
    return await moves_of(client, "a") == await moves_of(client, "b") == [digest(1), digest(2)]


Fault = Callable[[CuttingProxy], None]
LEARNING: dict[str, Fault] = {
    "the consumer": lambda proxy: proxy.lose_answer_to(b"CONSUMER.CREATE.TAGSTACK_EVENTS"),
    "all of them": lambda proxy: proxy.lose_answer_to(b'"idle_heartbeat"'),
    "some of them": lambda proxy: proxy.cut_before(b"tagstack.events.a.app.tag.latest "),
}


async def move_while_lost(url: str, fault: Fault) -> None:
    """Move both sources while something is lost, and see both followers follow."""
    async with client_of(url) as client, proxy_before(url, CuttingProxy) as proxy:
        await follow(url, client)
        async with worker(proxy.url):
            fault(proxy)
            for name in ("one", "two"):
                await until(lambda name=name: accepted(client, name))  # type: ignore[misc]
            await until(lambda: both_followed(client))
            assert proxy.lost == 1


@pytest.mark.parametrize("lost", LEARNING)
def test_who_follows_is_learned_whole_whatever_is_lost(nats_url: str, monkeypatch: Any, lost: str) -> None:
    """The answer is lost while a worker learns who follows whom: it learns again, and misses no move.

    Seen to fail when `LogSource.read_last` ends once nothing comes for a moment, and when `_take` learns before it
    counts the message, so that the next acknowledgement covers that.
    """
    monkeypatch.setattr(nats_followers, "ACK_WAIT_S", 300.0)  # else the event is heard again by itself
    run(lambda: move_while_lost(nats_url, LEARNING[lost]))


def test_a_move_that_is_lost_on_its_way_is_heard_again(nats_url: str, monkeypatch: Any) -> None:
    """The event itself is lost: it comes again before any other is acknowledged, which would cover it.

    Seen to fail when `nats_followers.ACK_WAIT_S` is above two times `PULL_EXPIRES_S`: a follower stays behind.
    """
    monkeypatch.setattr(nats_followers, "ACK_WAIT_S", 1.0)
    run(lambda: move_while_lost(nats_url, lambda proxy: proxy.cut_before(b"tagstack.events.dev.one.tag.latest ")))
