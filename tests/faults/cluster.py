"""A cluster of three nats-servers on loopback, whose nodes can be killed and brought back.

Start nodes from the main thread: Linux kills a child when the thread that started it ends.
"""

from __future__ import annotations

import socket
from pathlib import Path

from nats.aio.client import Client

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream
from tagstack.domain.errors import Unavailable
from tests.examples_nats import client_of, until

NODES = 3
READY_TIMEOUT_S = 30.0


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; nodes have to know each other's beforehand."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """Three nodes, each with its own files."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(2 * NODES)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[NODES:])
        self.nodes = []
        for number, port in enumerate(ports[NODES:]):
            told = f'cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
            options = ServerOptions(port=ports[number], extra=f"server_name: n{number}\n{told}")
            self.nodes.append(NatsServer(folder / f"n{number}", options))

    @property
    def url(self) -> str:
        """The URLs of all nodes, as `--nats` takes them."""
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Cluster:
        """Start every node."""
        for node in self.nodes:
            node.start()
        return self

    def kill(self) -> None:
        """Kill every node."""
        for node in self.nodes:
            node.kill()

    async def ready(self) -> None:
        """Wait until the nodes have chosen who leads and JetStream takes streams."""
        async with client_of(self.nodes[0].url) as client:
            await until(lambda: _leads(client), READY_TIMEOUT_S)


async def _leads(client: Client) -> bool:
    try:
        return "error" not in await jetstream(client, "INFO")
    except Unavailable:
        return False


async def leader(client: Client, stream: str = EVENTS_STREAM) -> int:
    """Return which node leads a stream."""

    async def told() -> str | None:
        try:
            info = await jetstream(client, f"STREAM.INFO.{stream}")
        except Unavailable:
            return None
        name = info.get("cluster", {}).get("leader")
        return str(name) if name else None

    return int((await until(told, READY_TIMEOUT_S))[1:])


async def in_sync(client: Client, stream: str = EVENTS_STREAM) -> bool:
    """Return whether every replica of a stream is there and has all of it."""
    try:
        cluster = (await jetstream(client, f"STREAM.INFO.{stream}")).get("cluster", {})
    except Unavailable:
        return False
    replicas = cluster.get("replicas", [])
    return len(replicas) == NODES - 1 and all(each["current"] and not each.get("offline") for each in replicas)
