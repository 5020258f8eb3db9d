"""SQL across accounts: an analyst who can't see the log's account gets a streamed answer, and can cancel."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import msgspec
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_sql import ROWS, STATEMENT_ID
from tagstack.application.grants import Grants
from tagstack.apps.settings import Settings
from tagstack.apps.sql import SqlPart
from tests.integration.sql_examples import WAIT_S, write_snapshot
from tests.integration.test_accounts import server, user
from tests.integration.test_sql_worker import ENDLESS, send, until_running

__all__ = ["server"]  # the fixture


def test_an_analyst_in_an_account_of_its_own_streams_and_cancels(server: NatsServer, tmp_path: Path) -> None:
    """Every message of a long answer crosses the accounts, and so does the word that cancels one."""

    async def scenario(nc: Client, ana: Client) -> None:
        settings = Settings(home=str(tmp_path), sql_memory_mb=256, sql_timeout_s=60.0)
        part = SqlPart(settings, Grants({"ana": ["*"]}), CollectorRegistry())
        await part.start(nc)
        messages = await (await send(ana, "SELECT i, repeat('x', 200) FROM range(20000) r(i)")).messages()
        rows = itertools.chain.from_iterable(msgspec.json.decode(msg.data) for msg in messages[1:-1])
        assert [row[0] for row in rows] == list(range(20000))
        assert len(messages) > 10 and messages[-1].headers is not None and messages[-1].headers[ROWS] == "20000"
        asked = await send(ana, ENDLESS, identity="mine")
        await until_running(part)
        await ana.publish("tagstack.sql.ana", b"", headers={STATEMENT_ID: "mine"})
        [status, _] = await asked.messages()
        assert msgspec.json.decode(status.data)["reason"] == "Cancelled"
        await part.stop()

    async def test() -> None:
        write_snapshot(tmp_path, 1)
        nc, ana = await user(server, "tagstack"), await user(server, "ana")
        async with asyncio.timeout(WAIT_S):
            await scenario(nc, ana)
        await ana.close()
        await nc.close()

    asyncio.run(test())
