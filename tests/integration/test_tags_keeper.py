"""The comparison of TAGSTACK_TAGS with the log, while the log grows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tagstack.adapters import nats_direct
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
