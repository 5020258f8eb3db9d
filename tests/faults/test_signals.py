"""What if a worker is told to stop? It finishes what it has taken, within a bound; told again, it ends at once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from tagstack.adapters.nats_server import NatsServer
from tests.examples_nats import WAIT_S, ask, client_of, log_of, mapping, run, stored_in, until, worker_process

COMMANDS = 200
AGAIN_S = 0.05


async def ready(client: Client) -> bool:
    """Return whether a worker answers commands."""
    try:
        return bool((await ask(client, "prod.first", mapping("first", 1)))["status"] == "Success")
    except NoRespondersError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_answers_what_it_took_and_takes_no_more(
    nats_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Hundreds of commands are on their way: each that reached the worker is answered and stored; it exits with 0.

    Seen to fail when `CommandIntake.stop` waits for nothing.
    """

    async def scenario() -> None:
        async with client_of(nats_url) as client:
            with worker_process(nats_url, tmp_path) as process:
                await until(lambda: ready(client))
                asked = asyncio.gather(*(ask(client, "prod.api", mapping("api", n)) for n in range(COMMANDS)))
                before = await stored_in(client, "TAGSTACK_EVENTS")

                async def begun() -> bool:
                    return await stored_in(client, "TAGSTACK_EVENTS") > before

                await until(begun)
                process.send_signal(number)
                assert {answer["status"] for answer in await asked} == {"Success"}
                assert await asyncio.to_thread(process.wait, WAIT_S) == 0
            assert len(await log_of(client, "tagstack.events.prod.api.tag.*")) == COMMANDS
            with pytest.raises(NoRespondersError):
                await ask(client, "prod.api", mapping("api", 1))

    run(scenario)


def end(process: subprocess.Popen[bytes]) -> int:
    """Tell a process to stop again and again, and return what it exits with."""
    while True:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(AGAIN_S)
        except subprocess.TimeoutExpired:
            continue


def test_a_second_signal_ends_a_worker_at_once(nats_server: NatsServer, tmp_path: Path) -> None:
    """Its server hangs, so that the stop would take its bound: the second SIGTERM does not wait for that.

    Seen to fail when `http.stop_on_signals` takes a second signal as the first.
    """

    async def scenario() -> None:
        async with client_of(nats_server.url) as client:
            with worker_process(nats_server.url, tmp_path) as process:
                await until(lambda: ready(client))
                assert nats_server.process is not None
                nats_server.process.send_signal(signal.SIGSTOP)
                try:
                    assert await asyncio.to_thread(end, process) == 128 + signal.SIGTERM
                finally:
                    nats_server.process.send_signal(signal.SIGCONT)

    run(scenario)
