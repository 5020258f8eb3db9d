"""A cluster of three nats-servers on loopback, whose nodes can be killed and brought back.

Start nodes from the main thread: Linux kills a child when the thread that started it ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import EVENTS_STREAM, jetstream
from tagstack.bench.cluster import NODES, free_ports, leads
from tagstack.domain.errors import Unavailable
from tests.examples_nats import client_of, until
from tests.faults.monitoring import MONITORED, told

READY_TIMEOUT_S = 30.0
PINGS = 'ping_interval: "1s", ping_max: 2'  # how soon a node notices that another one is silent
# nodes tell each other and their clients where they listen; who took the hint would go round the proxies
UNADVERTISED = 'no_advertise: true, advertise: "127.0.0.1:1"'


class Cluster:
    """Three nodes, each with its own files. `routes` are the URLs by which each reaches the others."""

    def __init__(self, folder: Path, ports: list[int] | None = None, routes: list[list[str]] | None = None) -> None:
        ports = ports or free_ports(2 * NODES)
        direct = [f"nats://127.0.0.1:{port}" for port in ports[NODES:]]
        self.nodes = []
        for number, port in enumerate(ports[NODES:]):
            reached = json.dumps(routes[number] if routes else direct)
            more = UNADVERTISED if routes else ""
            named = f'name: c, listen: "127.0.0.1:{port}", routes: {reached}, {PINGS}, {more}'
            extra = f"server_name: n{number}\n{MONITORED}\ncluster {{ {named} }}"
            options = ServerOptions(port=ports[number], extra=extra)
            self.nodes.append(NatsServer(folder / f"n{number}", options))

    @property
    def url(self) -> str:
        """The URLs of all nodes, as `--nats` takes them."""
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)

    def held(self, stream: str = EVENTS_STREAM) -> list[dict[str, Any]]:
        """Return what each node by itself has of a stream: positions, messages, bytes."""
        return [_held(node, stream) for node in self.nodes]

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
        """Wait until every node knows who leads and JetStream takes streams."""
        for node in self.nodes:
            async with client_of(node.url) as client:
                await until(lambda client=client: leads(client), READY_TIMEOUT_S)  # type: ignore[misc]


def _held(node: NatsServer, stream: str) -> dict[str, Any]:
    [account] = told(node, "jsz?accounts=true&streams=true")["account_details"]
    [state] = [each["state"] for each in account["stream_detail"] if each["name"] == stream]
    kept: dict[str, Any] = {
        name: state[name] for name in ("first_seq", "last_seq", "messages", "bytes", "num_subjects")
    }
    return kept


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
