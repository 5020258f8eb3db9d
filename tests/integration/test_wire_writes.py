"""When the fast path hands over what it is given to send."""

from __future__ import annotations

import asyncio
from typing import Any

from tagstack.adapters.nats_wire import WireTransport


def test_a_message_that_comes_alone_is_not_kept_until_the_turn_ends(nats_url: str) -> None:
    """Few are written at once; of many that come in a turn those after the first go together at its end.

    Seen to fail when every message waited for the end of its turn, and when none did.
    """

    async def scenario() -> None:
        transport = await WireTransport(nats_url, "test").connect()
        try:
            await asyncio.sleep(0)  # what greets the server has gone
            written = _Written(transport)
            transport.send("a", b"1")
            assert written.count == 1
            await asyncio.sleep(0)
            for number in range(100):
                transport.send("a", b"%d" % number)
            await asyncio.sleep(0)
            assert written.count == 3
            for number in range(100):
                transport.send("a", b"%d" % number)
            await asyncio.sleep(0)
            assert written.count == 4
        finally:
            await transport.close()

    asyncio.run(scenario())


class _Written:
    """Counts what a connection is given to write."""

    def __init__(self, transport: Any) -> None:
        self.count = 0
        self._tcp = transport._tcp
        transport._tcp = self

    def write(self, data: bytes) -> None:
        """Count, and write."""
        self.count += 1
        self._tcp.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._tcp.close()
