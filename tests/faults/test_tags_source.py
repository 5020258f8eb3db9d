"""What if TAGSTACK_TAGS is behind the log? That is no difference; and where its source has stalled, it goes on."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from tagstack.adapters.nats_tags import TagsKeeper
from tests.examples_nats import ask, client_of, mapping, run, worker

PUSHERS = 16
LOOKS = 30


async def push(client: Client, name: str) -> None:
    """Push one image after the other, until cancelled."""
    number = 0
    while True:
        number += 1
        await ask(client, f"prod.{name}", mapping(name, number))


def test_a_log_that_grows_meanwhile_is_no_difference(nats_url: str) -> None:
    """However fast events are stored and copied while the two are compared, TAGSTACK_TAGS is not made anew.

    Broken on purpose: where the log is looked at before TAGSTACK_TAGS, half of all looks find a difference.
    """

    async def scenario() -> None:
        async with worker(nats_url), client_of(nats_url) as client:
            keeper = await TagsKeeper(client, 1, lambda: None).start()
            pushing = [asyncio.create_task(push(client, f"api{number}")) for number in range(PUSHERS)]
            for _ in range(LOOKS):
                keeper.reconnected()  # look at everything, as after a reconnection
                assert await keeper.difference() == ""
            for task in pushing:
                task.cancel()
            await asyncio.gather(*pushing, return_exceptions=True)
            await keeper.stop()
            assert keeper.renewed == 0

    run(scenario)
