"""A cluster of three nats-servers on loopback, and a stage on it whose streams are on all of them."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from nats.aio.client import Client

from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import jetstream
from tagstack.bench.stage import Stage
from tagstack.domain.errors import Unavailable

NODES = 3
LEADER_TIMEOUT_S = 30.0
POLL_S = 0.1


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; nodes have to know each other's beforehand."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def leads(client: Client) -> bool:
    """Return whether a node knows who leads, so that JetStream answers."""
    try:
        return "error" not in await jetstream(client, "INFO")
    except Unavailable:
        return False


class Cluster(NatsServer):
    """Three nodes, used as one server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = free_ports(NODES)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.nodes = []
        for number, port in enumerate(ports):
            told = f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
            options = ServerOptions(extra=f"server_name: n{number}\n{told}")
            self.nodes.append(NatsServer(folder / f"n{number}", options))

    def start(self) -> Cluster:
        """Start every node and wait until they have chosen who leads."""
        for node in self.nodes:
            node.start()
        self.url = ",".join(node.url for node in self.nodes)
        self.process = self.nodes[0].process
        asyncio.run(_until_led(self.nodes[0].url))
        return self

    def kill(self) -> None:
        """Kill every node."""
        for node in self.nodes:
            node.kill()


class Replicated(Stage):
    """A stage on a cluster, each stream on all of its nodes."""

    replicas = NODES

    def __init__(self) -> None:
        super().__init__()
        self.server: Cluster = Cluster(self.home / "nats")


async def _until_led(url: str) -> None:
    nc = await connect(url, "tagstack-bench-cluster", patient=False)
    try:
        async with asyncio.timeout(LEADER_TIMEOUT_S):
            while not await leads(nc):  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(POLL_S)
    finally:
        await nc.close()
