"""Child processes of `up`: started, watched, started again when they die, and stopped together."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from tagstack.adapters.nats_server import die_with_parent
from tagstack.apps.files import remove

RESTART_WAIT_MIN_S = 0.5
RESTART_WAIT_MAX_S = 10.0
STEADY_S = 30.0  # who lived this long is started again at once
HTTP_TIMEOUT_S = 2.0
NEEDED = "commands"  # what can't be done without it; readers may come later
LOG_BYTES_MAX = 10 * 1024 * 1024  # a longer log is set aside at start, one old one is kept

_log = logging.getLogger(__name__)


class Told(msgspec.Struct):
    """What a worker writes about itself."""

    pid: int
    http: str


class Readiness(msgspec.Struct, frozen=True):
    """Why not every process is ready; "" when all are. `usable`: all answer, and commands are taken."""

    why: str
    usable: bool


class Child:
    """One worker process."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path, told: Path) -> None:
        self.name = name
        self.restarts = 0
        self._command = command
        self._environment = environment
        self._log_path = log
        self._told = told
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait_s = RESTART_WAIT_MIN_S
        self._due: float | None = None

    def start(self) -> None:
        """Start the process; its output goes to its log file."""
        remove(self._told)
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._log_path.exists() and self._log_path.stat().st_size > LOG_BYTES_MAX:
            self._log_path.replace(self._log_path.with_suffix(".old.log"))
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for `up` alone, which stops its children in order
                preexec_fn=die_with_parent,
            )
        self._started = time.monotonic()
        self._due = None

    def revive(self) -> None:
        """Start the process again if it died; the wait grows while it keeps dying."""
        if self._process is None or self._process.poll() is None:
            return
        moment = time.monotonic()
        if self._due is None:
            steady = moment - self._started > STEADY_S
            self._wait_s = RESTART_WAIT_MIN_S if steady else min(self._wait_s * 2, RESTART_WAIT_MAX_S)
            self._due = moment + (0 if steady else self._wait_s)
            _log.warning("%s ended with %s; starting it again", self.name, self._process.returncode)
        if moment >= self._due:
            self.restarts += 1
            self.start()

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the process, and kill it when it does not come in time."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("%s did not stop within %s s; killing it", self.name, timeout_s)
            self._process.kill()
            self._process.wait()
        remove(self._told)

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and text of one HTTP request to the process; 0 where it does not answer."""
        try:
            told = msgspec.json.decode(self._told.read_bytes(), type=Told)
            with urllib.request.urlopen(told.http + path, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 our own
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, msgspec.DecodeError) as error:
            return 0, f"{self.name}: does not answer ({error}); see {self._log_path}"


class Children:
    """All of them."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    def start(self) -> None:
        """Start every process."""
        for child in self._children:
            child.start()

    def revive(self) -> None:
        """Start again those that died."""
        for child in self._children:
            child.revive()

    async def stop(self, timeout_s: float) -> None:
        """Stop every process, all at once, within a bound."""
        for child in self._children:
            child.terminate()
        await asyncio.gather(*(asyncio.to_thread(child.wait, timeout_s + 1) for child in self._children))

    async def readiness(self) -> Readiness:
        """Return whether every process is ready."""
        answers = await self._ask("/readyz")
        usable = all(status == 200 or (status and child.name != NEEDED) for child, status, _ in answers)
        return Readiness("; ".join(text.strip() for _, status, text in answers if status != 200), usable)

    async def metrics(self) -> bytes:
        """Return the metrics of every process that answers."""
        told = [text for _, status, text in await self._ask("/metrics") if status == 200]
        restarts = "".join(f'tagstack_restarts_total{{worker="{c.name}"}} {c.restarts}\n' for c in self._children)
        told.append(
            f"# HELP tagstack_restarts Workers started again\n# TYPE tagstack_restarts_total counter\n{restarts}"
        )
        return "".join(told).encode()

    async def _ask(self, path: str) -> list[tuple[Child, int, str]]:
        answers = await asyncio.gather(*(asyncio.to_thread(child.ask, path) for child in self._children))
        return [(child, status, text) for child, (status, text) in zip(self._children, answers, strict=True)]
