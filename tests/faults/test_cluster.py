"""Three replicas on three nodes: any one may go, by force or in turn, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, declarations, stream_info
from tagstack.bench.cluster import NODES
from tests.examples_nats import answer_to, ask, client_of, log_of, mapping, run, until, worker
from tests.faults.cluster import Cluster, in_sync, leader
from tests.faults.record import Proof, Sender, carry_on, settle

CLIENTS = 4
COMMANDS = 60  # that have to be decided while a node is away
AWAY_S = 3.0
PAUSE_S = 0.01

# nats-py leaves a socket open where a server stops in the middle of a greeting
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*StreamWriter")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that have chosen who leads."""
    cluster = Cluster(tmp_path / "cluster").start()
    asyncio.run(cluster.ready())
    yield cluster
    cluster.kill()


@asynccontextmanager
async def load(cluster: Cluster, proof: Proof) -> AsyncIterator[tuple[Client, list[Sender]]]:
    """Two workers and some clients at work; at the end all nodes agree, and the record with the log."""
    async with (
        worker(cluster.url, replicas=NODES),
        worker(cluster.url, replicas=NODES),
        client_of(cluster.url) as client,
    ):
        senders = [Sender(f"c{number}", client, random.Random(number)) for number in range(CLIENTS)]
        tasks = [asyncio.create_task(sender.work(PAUSE_S)) for sender in senders]
        await carry_on(senders, COMMANDS)
        yield client, senders
        await carry_on(senders, COMMANDS)
        proof.record = await settle(senders, tasks)
        await until(lambda: in_sync(client), 60)
        await proof.prove(client)


async def check_replicas(client: Client) -> None:
    """Check that the setting `replicas` holds for each of the four streams."""
    for stream in declarations():
        info = await answer_to(lambda name=stream["name"]: stream_info(client, name))  # type: ignore[misc]
        assert info["config"]["num_replicas"] == NODES
        assert len(info["cluster"]["replicas"]) == NODES - 1


def test_a_log_of_one_replica_gets_three(cluster: Cluster) -> None:
    """With the setting raised, a worker brings every stream up; what was stored before is in each of them.

    Seen to fail when TAGSTACK_TAGS was updated: a stream that is written out late can have no replicas.
    """

    async def scenario() -> None:
        async with client_of(cluster.url) as client:
            async with worker(cluster.url):
                assert (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
            async with worker(cluster.url, replicas=NODES):
                await until(lambda: in_sync(client), 60)
                await check_replicas(client)
                assert (await ask(client, "prod.api", mapping("api", 2, "other")))["status"] == "Success"
                await until(lambda: has(client, "tagstack.tags.>", TAGS_STREAM, 2))
                assert await has(client, "tagstack.events.*.*.tag.*", EVENTS_STREAM, 2)

    run(scenario)


async def has(client: Client, subject: str, stream: str, count: int) -> bool:
    """Return whether a stream holds so many messages under a subject."""
    return len(await log_of(client, subject, stream)) == count


def test_nothing_acknowledged_is_lost_when_nodes_go(cluster: Cluster) -> None:
    """kill -9 of the log's leader, a node away for seconds, a rolling restart: commands go on meanwhile.

    Seen to fail when `nats_streams.declarations` makes streams of one replica.
    """

    async def scenario() -> None:
        proof = Proof()
        async with load(cluster, proof) as (client, senders):
            await check_replicas(client)
            killed = cluster.nodes[await leader(client)]
            killed.kill()
            await carry_on(senders, COMMANDS)  # with two nodes of three
            killed.start()
            await until(lambda: in_sync(client), 60)
            away = cluster.nodes[(await leader(client) + 1) % NODES]
            away.kill()
            await asyncio.sleep(AWAY_S)
            await carry_on(senders, COMMANDS)
            away.start()
            await until(lambda: in_sync(client), 60)
            for node in cluster.nodes:
                node.stop()
                node.start()
                await until(lambda: in_sync(client), 60)
        assert proof.figures.acknowledged > 4 * COMMANDS // 2

    run(scenario)


def test_workers_that_start_with_their_cluster_wait_for_it(tmp_path: Path) -> None:
    """Nobody leads yet, and not every node is seen: the streams are declared as soon as that is so.

    Seen to fail when `nats_streams.declare` asks only once: a worker ends with "no suitable peers for placement".
    """
    cluster = Cluster(tmp_path / "cluster").start()

    async def scenario() -> None:
        async with worker(cluster.url, replicas=NODES), client_of(cluster.url) as client:
            assert (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
            await check_replicas(client)

    try:
        run(scenario)
    finally:
        cluster.kill()
