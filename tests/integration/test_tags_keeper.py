"""The comparison of TAGSTACK_TAGS with the log, while the log grows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tagstack.adapters import nats_direct, nats_tags
from tagstack.adapters.nats_direct import DirectGet
from tagstack.adapters.nats_streams import TAGS_STREAM, declare
from tagstack.adapters.nats_tags import TagsKeeper
from tests.examples_nats import WAIT_S, client_of, run, stored_in, until

TAG = "tagstack.events.prod.api.tag.t{}"


def test_a_log_that_grows_as_it_is_read_is_compared_all_the_same(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, in bounded memory, and a tag that moved meanwhile is no difference.

    Seen to fail (it never ended) when it read on to wherever the log had come, and when a tag that is kept
    further on was taken for one that is lacking.
    """
    monkeypatch.setattr(nats_direct, "BATCH_MESSAGES_MAX", 1)
    ask = DirectGet._ask

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)

            async def move(number: int) -> None:
                await client.request(TAG.format(number), b"{}", timeout=WAIT_S)

            async def grow(self: DirectGet, request: dict[str, Any]) -> Any:
                found = await ask(self, request)
                for number in range(2):
                    await move(number)
                return found

            for number in range(4):
                await move(number)
            await until(lambda: has(client))
            keeper = TagsKeeper(client, 1, lambda: None)
            await keeper._log.start()
            await keeper._tags.start()
            monkeypatch.setattr(DirectGet, "_ask", grow)
            async with asyncio.timeout(WAIT_S):
                assert await keeper.difference() == ""

    async def has(client: Any) -> bool:
        return await stored_in(client, TAGS_STREAM) == 4

    run(scenario)


def test_what_stands_still_is_looked_at_once(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle log is asked for nothing but how far it is; once it has moved, it is asked again what is to be copied.

    The server is never made to look at every tag, with the log standing still meanwhile. Seen to fail when
    `TagsKeeper.check` wakes whatever it finds, when it never does after the first time, and when it asked for the
    last message, or for a batch of messages, of many tags.
    """
    asked: list[dict[str, Any]] = []
    ask = DirectGet._ask

    async def noted(self: DirectGet, request: dict[str, Any]) -> Any:
        asked.append(request)
        return await ask(self, request)

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            keeper = TagsKeeper(client, 1, lambda: None)
            await keeper._log.start()
            await keeper._tags.start()
            for number in range(2):
                await client.request(TAG.format(number), b"{}", timeout=WAIT_S)
                await until(lambda number=number: copied(client, number + 1))  # type: ignore[misc]
                await keeper.check()
                assert [request["last_by_subj"] for request in asked if "last_by_subj" in request] == [">", ">"]
                batches = [request["next_by_subj"] for request in asked if "batch" in request]
                assert batches == ["tagstack.events.*.*.tag.*"]
                asked.clear()
                await keeper.check()
                assert asked == [{"last_by_subj": ">"}]
                asked.clear()

    async def copied(client: Any, count: int) -> bool:
        return await stored_in(client, TAGS_STREAM) == count

    monkeypatch.setattr(DirectGet, "_ask", noted)
    run(scenario)


def test_with_replicas_a_difference_has_longer_to_pass(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a cut, a replica that lags behind may answer for some seconds: what it says is no reason to begin anew.

    Seen to fail when `TagsKeeper.check` waits as for one replica.
    """
    monkeypatch.setattr(nats_tags, "CONFIRM_WAIT_S", None)
    monkeypatch.setattr(nats_tags, "REPLICAS_CONFIRM_WAIT_S", 0.0)
    found = ["it comes from position 9, the log ends at 2", ""]

    async def difference(self: TagsKeeper) -> str:
        return found.pop(0)

    monkeypatch.setattr(TagsKeeper, "difference", difference)

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            await declare(client)
            keeper = TagsKeeper(client, 3, lambda: None)
            await keeper.check()
            assert (found, keeper.renewed) == ([], 0)

    run(scenario)
