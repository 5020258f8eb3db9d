"""The embedded server keeps to the memory it was given."""

from __future__ import annotations

from pathlib import Path

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tests.faults.monitoring import MONITORED, told

MEMORY_MB = 96


def test_the_server_is_told_its_memory(tmp_path: Path) -> None:
    """The embedded server runs with the bound of memory it was given.

    Seen to fail when `NatsServer.start` gives no `GOMEMLIMIT`.
    """
    server = NatsServer(tmp_path, ServerOptions(memory_mb=MEMORY_MB, extra=MONITORED)).start()
    try:
        assert told(server, "varz")["gomemlimit"] == MEMORY_MB * 1024 * 1024
    finally:
        server.stop()
