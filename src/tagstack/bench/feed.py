"""The followers' feed of a stage. Commands keep it at the log's end; a history that is written past them does not.

Hearing such a history keeps a command worker busy for long: a million events for more than a minute.
"""

from __future__ import annotations

import asyncio

from tagstack.adapters.nats_followers import CONSUMER, RESET
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream, log_position
from tagstack.bench.stage import Stage
from tagstack.domain.errors import TagstackError

LEARNED_TIMEOUT_S = 600.0
POLL_S = 0.5


async def pass_by(stage: Stage) -> None:
    """Take the feed to the end of the log while no command worker runs: nobody follows in a history."""
    past = {"seq": await log_position(stage.nc) + 1}
    answer = await jetstream(stage.nc, RESET.removeprefix("$JS.API."), past)
    if "error" in answer:
        raise TagstackError(f"consumer {CONSUMER} can't be moved: {answer['error']['description']}")


async def until_learned(stage: Stage) -> None:
    """Wait until the command worker that something was pushed to knows who follows whom, and has heard all events."""
    async with asyncio.timeout(LEARNED_TIMEOUT_S):
        while True:
            feed = await jetstream(stage.nc, f"CONSUMER.INFO.{EVENTS_STREAM}.{CONSUMER}")
            if not feed["num_pending"] and not feed["num_ack_pending"]:
                return
            await asyncio.sleep(POLL_S)
