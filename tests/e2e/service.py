"""The real program as users start it: `tagstack up` in a process of its own, and verbs beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UP_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02


class Up:
    """A running `tagstack up`."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options
        self.process: subprocess.Popen[str] | None = None
        self.endpoints: dict[str, Any] = {}

    def start(self) -> Up:
        """Start it and wait until it has written its endpoints."""
        command = [sys.executable, "-m", "tagstack", "up", "--home", str(self.home), *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        written = self.home / "endpoints.json"
        deadline = time.monotonic() + UP_TIMEOUT_S
        while self.endpoints.get("pid") != self.process.pid:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"tagstack up did not start: {self.stop()}")
            time.sleep(POLL_S)
            if written.exists():  # perhaps one that was left by a killed one
                self.endpoints = json.loads(written.read_bytes())
        return self

    def stop(self, number: int = signal.SIGINT) -> str:
        """Send a signal, wait for the end, and return everything that was printed."""
        assert self.process is not None, "started"
        if self.process.poll() is None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return output

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a verb against this service."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")}
        return subprocess.run(
            [sys.executable, "-m", "tagstack", *arguments],
            env=environment | {"TAGSTACK_HOME": str(self.home), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            input=stdin,
            timeout=UP_TIMEOUT_S,
        )

    def json(self, *arguments: str) -> Any:
        """Run a verb that must succeed, and return what `-o json` prints."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)


@contextmanager
def running(home: Path, *options: str) -> Iterator[Up]:
    """Run a service on free ports; stop it in any case."""
    up = Up(home, "--nats-port", "0", "--http-port", "0", *options).start()
    try:
        yield up
    finally:
        up.stop()
