"""A cluster whose nodes reach each other through proxies only, so that one can be cut off from the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from pathlib import Path

from tagstack.bench.cluster import NODES, free_ports
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy, proxy_before


class Routes:
    """The ways between the nodes: a proxy for each of them to each other."""

    def __init__(self, proxies: dict[tuple[int, int], Proxy]) -> None:
        self._proxies = proxies

    def from_node(self, node: int) -> list[str]:
        """Return the URLs by which a node reaches the others."""
        return [proxy.url for (here, _), proxy in self._proxies.items() if here == node]

    def cut(self, node: int) -> None:
        """Lose all that a node sends to the others, or they to it."""
        for pair, proxy in self._proxies.items():
            if node in pair:
                proxy.hold()

    def heal(self) -> None:
        """Let everyone reach everyone."""
        for proxy in self._proxies.values():
            proxy.release()


@asynccontextmanager
async def routed(folder: Path) -> AsyncIterator[tuple[Cluster, Routes]]:
    """Three nodes that have chosen who leads, and the ways between them."""
    ports = free_ports(2 * NODES)
    async with AsyncExitStack() as stack:
        proxies = {
            (here, there): await stack.enter_async_context(proxy_before(f"nats://127.0.0.1:{ports[NODES + there]}"))
            for here, there in permutations(range(NODES), 2)
        }
        routes = Routes(proxies)
        cluster = Cluster(folder, ports, [routes.from_node(node) for node in range(NODES)])
        stack.callback(cluster.kill)
        cluster.start()
        await cluster.ready()
        yield cluster, routes
