"""What if the connection is closed for good? The process ends, so that whoever watches it starts another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from nats.errors import Error as NatsError

from tests.examples_nats import WAIT_S, ask, client_of, mapping, run, until, worker_process
from tests.faults.proxy import proxy_before


def test_a_worker_ends_when_its_connection_is_closed_for_good(nats_url: str, tmp_path: Path) -> None:
    """After an error upon which the client library gives up, the worker does not hang about: it exits with 3."""

    async def scenario() -> None:
        async with proxy_before(nats_url) as proxy, client_of(nats_url) as client:
            with worker_process(proxy.url, tmp_path) as process:

                async def ready() -> bool:
                    with suppress(NatsError):
                        return (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
                    return False

                await until(ready)
                await proxy.inject(b"-ERR 'Maximum Payload Violation'\r\n")
                assert await asyncio.to_thread(process.wait, WAIT_S) == 3

    run(scenario)
