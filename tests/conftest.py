"""Fixtures: a real nats-server per test module, one connection per test, a home of its own each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagstack.adapters import nats_owners
from tagstack.adapters.nats_server import NatsServer


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A real nats-server with an empty JetStream, on a port of its own choosing."""
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.stop()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """The URL of the test's own nats-server."""
    return nats_server.url


@pytest.fixture
def nobody_owns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process carry out what reaches them, whoever owns it, so that they get in each other's way."""
    monkeypatch.setattr(nats_owners, "HANDED_BYTES_MAX", -1)
