"""How long commands wait when one of two command workers is killed, or stopped for longer than every timeout.

    python -m tests.faults.handover --rounds 10

Clients send commands without a pause, each again until it is answered. The hand-over time of a round is the
longest time between two accepted commands, as all the clients together see it and as the slowest of them does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tests.examples_nats import ask, client_of, mapping, until, worker_process
from tests.faults.monitoring import MONITORED, told

WORKERS = 2
CLIENTS = 4
ANSWER_TIMEOUT_S = 0.5  # a client asks again after this
STOPPED_S = 15.0  # longer than every timeout of a worker
STEADY_S = 2.0  # before and after the fault


class Asker:
    """A client that pushes to an image stream of its own, and notes when each push was accepted."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self.accepted: list[float] = []

    async def work(self, enough: asyncio.Event) -> None:
        """Push one image after the other, each until it is accepted."""
        number = 0
        while not enough.is_set():
            number += 1
            headers = {"Tagstack-Command-Id": f"{self._name}-{time.monotonic_ns()}"}
            while not await self._accepted(number, headers) and not enough.is_set():
                pass

    async def _accepted(self, number: int, headers: dict[str, str]) -> bool:
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await ask(self._client, f"prod.{self._name}", mapping(self._name, number), headers)
            if answer["status"] == "Success":
                self.accepted.append(time.monotonic())
                return True
        return False


def longest(times: list[float]) -> float:
    """Return the longest pause between two moments."""
    return max(after - before for before, after in itertools.pairwise(times))


async def one_round(server: NatsServer, how: signal.Signals) -> tuple[float, float]:
    """Return the hand-over time of one fault: of all clients together, and of the slowest one."""
    async with client_of(server.url) as client:
        with ExitStack() as stack:
            homes = [server.folder.parent / f"worker{number}" for number in range(WORKERS)]
            workers = [stack.enter_context(worker_process(server.url, home)) for home in homes]
            await until(lambda: _both_listen(server))
            askers = [Asker(client, f"api{random.randrange(10**9)}") for _ in range(CLIENTS)]
            enough = asyncio.Event()
            tasks = [asyncio.create_task(asker.work(enough)) for asker in askers]
            await asyncio.sleep(STEADY_S)
            workers[0].send_signal(how)
            await asyncio.sleep(STOPPED_S if how == signal.SIGSTOP else 0)
            if how == signal.SIGSTOP:
                workers[0].send_signal(signal.SIGCONT)
            await asyncio.sleep(STEADY_S)
            enough.set()
            await asyncio.gather(*tasks)
            together = sorted(moment for asker in askers for moment in asker.accepted)
            return longest(together), max(longest(asker.accepted) for asker in askers)


async def _both_listen(server: NatsServer) -> bool:
    """Return whether both workers take commands."""
    connections = (await asyncio.to_thread(told, server, "connz?subs=true"))["connections"]
    listening = [each for each in connections if "tagstack.commands.*.*.*" in each.get("subscriptions_list", [])]
    return len(listening) == WORKERS


def main() -> None:
    """Run from the command line and print median and maximum for each fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    options: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tagstack-handover-") as folder:
        server = NatsServer(Path(folder) / "nats", ServerOptions(extra=MONITORED)).start()
        try:
            for how in (signal.SIGKILL, signal.SIGSTOP):
                found = [asyncio.run(one_round(server, how)) for _ in range(options.rounds)]
                for who, times in zip(("all together", "the slowest client"), zip(*found, strict=True), strict=True):
                    print(f"{how.name}, {who}: median {statistics.median(times):.2f} s, most {max(times):.2f} s")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
