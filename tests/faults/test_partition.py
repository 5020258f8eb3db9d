"""What if the network parts one node of three from the others? It can store nothing; the others go on without it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.adapters.nats_streams import EVENTS_STREAM, TAGS_STREAM, log_position
from tagstack.bench.cluster import NODES
from tests.examples_nats import answer_to, client_of, log_of, run, until, worker
from tests.faults.cluster import Cluster, in_sync, leader
from tests.faults.record import Proof, Sender, carry_on, settle
from tests.faults.routes import routed

COMMANDS = 60  # that have to be decided in each state of the network
CUT_S = 15.0  # longer than every timeout of a worker, and than two waits for an ack
PAUSE_S = 0.01

# nats-py leaves a socket open where a server stops in the middle of a greeting
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*StreamWriter")


@asynccontextmanager
async def one_each(cluster: Cluster) -> AsyncIterator[tuple[list[Client], list[Sender], list[asyncio.Task[None]]]]:
    """A worker and a sender at each node that know no other node."""
    async with AsyncExitStack() as stack:
        clients = []
        for node in cluster.nodes:
            await stack.enter_async_context(worker(node.url, replicas=NODES))
            clients.append(await stack.enter_async_context(client_of(node.url)))
        senders = [Sender(f"c{number}", client, random.Random(number)) for number, client in enumerate(clients)]
        yield clients, senders, [asyncio.create_task(sender.work(PAUSE_S)) for sender in senders]


def changes(sender: Sender) -> int:
    """Return how many commands of a sender were answered as stored."""
    answers = [command.answer for command in sender.record if command.answer]
    return sum(answer["status"] == "Success" and answer["details"]["changed"] for answer in answers)


@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_node_that_is_cut_off_stores_nothing_and_the_others_go_on(tmp_path: Path, whom: str) -> None:
    """Every packet of the log's leader, or of a follower, is lost for long: nothing acknowledged is; all agree again.

    Seen to fail when `nats_streams.declarations` takes no notice of its argument: with one replica of each stream the
    others wait in vain.
    """

    async def scenario() -> None:
        proof = Proof()
        async with routed(tmp_path) as (cluster, routes), one_each(cluster) as (clients, senders, tasks):
            await carry_on(senders, COMMANDS)
            led_by = await leader(clients[0])
            lost = led_by if whom == "leader" else (led_by + 1) % NODES
            others = [sender for number, sender in enumerate(senders) if number != lost]
            routes.cut(lost)
            await carry_on(others, COMMANDS)
            stored = changes(senders[lost])  # those that were on their way are answered by now
            await asyncio.sleep(CUT_S)
            await carry_on(others, COMMANDS)
            assert changes(senders[lost]) == stored
            routes.heal()
            for sender in senders:
                await carry_on([sender], COMMANDS // NODES)
            proof.record = await settle(senders, tasks)
            await cluster.ready()
            for stream in (EVENTS_STREAM, TAGS_STREAM):
                await until(lambda stream=stream: in_sync(clients[0], stream), 60)  # type: ignore[misc]
            await proof.prove(clients[0])
            logs = [[(event.position, event.headers["ce-id"]) for event in await log_of(each)] for each in clients]
            assert logs[0] == logs[1] == logs[2]
            held = cluster.held()
            assert held[0] == held[1] == held[2]
            assert held[0]["last_seq"] == await answer_to(lambda: log_position(clients[0]))

    run(scenario)
