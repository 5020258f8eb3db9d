"""Chaos: kills and stops everything at random under load, then proves from the clients' own record that nothing broke.

    python -m tests.faults.chaos --rounds 20 --seconds 10

Proved after each round: every acknowledged command is in the log exactly once, with the answer its
sender got; of a refused one there is no event (unless it was sent several times: each delivery of a
command without effect is judged anew); every chain is unbroken; a durable consumer on
TAGSTACK_TAGS saw the last state of each tag; the read models equal a fold of the log; a reader could
open a snapshot at any time, and none was older than the one before; SQL over NATS that was told to
include a position included it, or was refused in words.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
from nats.aio.client import Client

from tagstack.adapters.nats_server import NatsServer, die_with_parent
from tagstack.adapters.nats_streams import declare
from tagstack.apps.verify import Verifier
from tests.examples_nats import WORKER, client_of, until
from tests.faults.analyst import SQL_TIMEOUT_S, Analyst
from tests.faults.record import SETTLE_TIMEOUT_S, Figures, Proof, Sender, settle

CLIENTS = 6
WORKERS = ("commands", "commands", "projector", "sql")
PAUSE_S = (0.2, 1.0)  # between two faults
ANSWERED_MIN = 40  # commands in a round, else it shows little
LONGER_S_MAX = 40.0  # than asked for, until then
STOPPED_S = (0.2, 3.0)  # how long a stopped process sleeps
READ_INTERVAL_S = 0.05
TEND_INTERVAL_S = 0.5
ROUNDS_PER_HOME = 20
POSITION = "SELECT (SELECT position FROM checkpoint), (SELECT count(*) FROM events)"


class Workers:
    """Two command workers, a projector and a SQL worker as processes, started again when they die."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ended = 0

    def start(self) -> None:
        """Start those that do not run."""
        if not self.processes:
            self.processes = [self._started(index) for index in range(len(WORKERS))]
        for index, process in enumerate(self.processes):
            if process.poll() is not None:
                self.ended += process.returncode != -signal.SIGKILL
                self.processes[index] = self._started(index)

    async def tend(self) -> None:
        """Start again what ends, as a supervisor does, until cancelled."""
        while True:
            self.start()
            await asyncio.sleep(TEND_INTERVAL_S)

    def _started(self, index: int) -> subprocess.Popen[bytes]:
        name = WORKERS[index]
        # the SQL worker reads the snapshots of the projector
        home = self._home / (f"commands{index}" if name == "commands" else "projector")
        home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"TAGSTACK_NATS": self._url, "TAGSTACK_HOME": str(home), "TAGSTACK_HTTP_PORT": "0"}
        with (home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", WORKER.replace("commands", name)],
                env=environment | {"TAGSTACK_SQL_TIMEOUT_S": str(SQL_TIMEOUT_S)},
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def kill(self) -> None:
        """Kill all."""
        for process in self.processes:
            process.kill()
            process.wait()


class Reader:
    """An analyst who opens the snapshot again and again, from a thread of its own."""

    def __init__(self, snapshot: Path) -> None:
        self._snapshot = snapshot
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.opened = 0
        self.trouble: list[str] = []

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stopping.set()
        self._thread.join()

    def _read(self) -> None:
        reached = 0
        while not self._stopping.wait(READ_INTERVAL_S):
            if not self._snapshot.exists() and not self.opened:
                continue  # the projector has not begun yet
            try:
                with closing(duckdb.connect(str(self._snapshot.resolve()), read_only=True)) as connection:
                    [(position, events)] = connection.execute(POSITION).fetchall()
            except duckdb.Error as error:
                self.trouble.append(str(error))
                continue
            self.opened += 1
            if position < reached or events > position:
                self.trouble.append(f"{events} events up to {position}, after {reached}")
            reached = position


class Chaos:
    """One home with everything in it, and the people who break it."""

    def __init__(self, home: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self._home = home
        self.proof = Proof()
        self.figures = self.proof.figures
        self._reader = Reader(home / "projector" / "live" / "tagstack.duckdb")

    async def run(self, rounds: int, seconds: float) -> Figures:
        """Run some rounds on one log. Raises AssertionError where anything broke."""
        server = NatsServer(self._home / "nats").start()
        workers = Workers(server.url, self._home)
        try:
            async with client_of(server.url) as client:
                await declare(client)
            workers.start()
            self._reader.start()
            for number in range(rounds):
                await self._round(number, seconds, server, workers)
        finally:
            self._reader.stop()
            workers.kill()
            server.kill()
        return self.figures

    async def _round(self, number: int, seconds: float, server: NatsServer, workers: Workers) -> None:
        async with client_of(server.url) as client:
            senders = [Sender(f"r{number}c{n}", client, self._dice) for n in range(CLIENTS)]
            analyst = Analyst(server.url, senders, self._dice)
            tasks = [asyncio.create_task(each.work()) for each in senders]
            asking = asyncio.create_task(analyst.work())
            await self._break(seconds, server, workers, senders)
            tending = asyncio.create_task(workers.tend())
            self.proof.record += await settle(senders, tasks)
            await analyst.settle(asking)
            await self.proof.prove(client)
            await self._prove_read_models(client)
            tending.cancel()
        self.figures.rounds += 1
        self.figures.ended = workers.ended
        self.figures.sql_right += analyst.right
        self.figures.sql_refused += analyst.refused

    async def _break(self, seconds: float, server: NatsServer, workers: Workers, senders: list[Sender]) -> None:
        """Break things for a while, and on a machine under load until enough was answered meanwhile."""
        begin = time.monotonic()
        while (lasted := time.monotonic() - begin) < seconds + LONGER_S_MAX:
            if lasted >= seconds and sum(sender.answered for sender in senders) >= ANSWERED_MIN:
                break
            await asyncio.sleep(self._dice.uniform(*PAUSE_S))
            assert server.process is not None
            everyone = [server.process, *workers.processes]
            chance = self._dice.random()
            if chance < 0.1:
                await self._kill(everyone)
                self.figures.kills_of_all += 1
            elif chance < 0.65:
                await self._kill([self._dice.choice(everyone)])
            else:
                await self._stop(everyone if chance > 0.95 else [self._dice.choice(everyone)])
            if not server.running():
                await asyncio.to_thread(server.start)
            workers.start()

    async def _kill(self, victims: list[subprocess.Popen[bytes]]) -> None:
        """Kill in one moment, and wait until all are gone."""
        for victim in victims:
            victim.kill()
        for victim in victims:
            await asyncio.to_thread(victim.wait)
        self.figures.kills += len(victims)

    async def _stop(self, victims: list[subprocess.Popen[bytes]]) -> None:
        """Let them sleep for a while, and wake them one after the other."""
        for victim in victims:
            victim.send_signal(signal.SIGSTOP)
        for victim in self._dice.sample(victims, len(victims)):
            await asyncio.sleep(self._dice.uniform(*STOPPED_S) / len(victims))
            victim.send_signal(signal.SIGCONT)
        self.figures.stops += len(victims)

    async def _prove_read_models(self, client: Client) -> None:
        """Compare the snapshot with a fold of the log, once the projector has come so far."""
        snapshot = self._home / "projector" / "live" / "tagstack.duckdb"
        report = None

        async def agrees() -> bool:
            nonlocal report
            verifier = Verifier()
            await verifier.log(client, snapshot)
            report = verifier.report()
            not_checked = [checked for checked in report.checked if checked.not_checked]
            return not report.complaints and not not_checked

        try:
            await until(agrees, SETTLE_TIMEOUT_S)
        except TimeoutError:
            raise AssertionError(f"the read models differ from the log: {report}") from None
        assert report is not None
        self.figures.rows_compared = sum(c.count for c in report.checked if c.what.startswith("rows of"))
        self.figures.snapshots_opened = self._reader.opened
        assert self._reader.trouble == []


def main() -> None:
    """Run from the command line and print the figures; homes in which something broke are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options: Any = parser.parse_args()
    total, broken = Figures(), 0
    for first in range(0, options.rounds, ROUNDS_PER_HOME):
        seed, rounds = options.seed + first, min(ROUNDS_PER_HOME, options.rounds - first)
        home = Path(tempfile.mkdtemp(prefix="tagstack-chaos-"))
        print(f"{rounds} rounds, seed {seed}, home {home}", flush=True)
        chaos = Chaos(home, seed)
        try:
            asyncio.run(chaos.run(rounds, options.seconds))
        except (AssertionError, TimeoutError):
            traceback.print_exc()
            broken += 1
        else:
            shutil.rmtree(home)
        print(chaos.figures, flush=True)
        total.add(chaos.figures)
    print(f"all: {total}; broken homes: {broken}")
    raise SystemExit(broken > 0)


if __name__ == "__main__":
    main()
