"""Runs a document's examples and compares what they print: `python -m tests.e2e.readme [--update] FILE`.

A fence `console` holds commands after `$ ` and their output; a fence `python NAME` is written to that file first.
Times, ids, ages and the sizes of streams, which hold those, differ between runs and are left out of the comparison.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.service import Up, running

ROOT = Path(__file__).parent.parent.parent
COMMAND_TIMEOUT_S = 60
_FENCE = re.compile(r"^```(console|python \S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b(now|a minute ago|\d+ (second|minute)s? ago)\b"), "AGO"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s)\b"), "DURATION"),
    (re.compile(r"^(TAGSTACK_[A-Z]+ +\d+ +)\d+", re.MULTILINE), r"\1BYTES"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"[─━]+"), "-"),
)


def normalised(text: str) -> str:
    """Return output without what differs between two runs."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def run(document: str, up: Up, folder: Path) -> str:
    """Return a document with what its commands really print."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")} | {
        "TAGSTACK_HOME": str(up.home),
        "TAGSTACK_ACTOR": "alice",
        "NATS_URL": up.endpoints["nats"],
        "SNAPSHOT": up.endpoints["snapshot"],
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    (folder / "tests").symlink_to(ROOT / "tests")

    def ran(fence: re.Match[str]) -> str:
        kind, text = fence.groups()
        if kind != "console":
            (folder / kind.removeprefix("python ")).write_text(text)
            return fence.group(0)
        told = [f"$ {command}\n{_output(command, environment, folder)}" for command in _commands(text)]
        return f"```console\n{''.join(told)}```"

    return _FENCE.sub(ran, document)


def _commands(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def _output(command: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + ("\n" if done.stdout.strip() else "")


def main(arguments: list[str]) -> int:
    """Compare a document with what its examples print, or write that into it."""
    path = Path(arguments[-1])
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch) / "home") as up:
        new = run(path.read_text(), up, Path(scratch))
    if "--update" in arguments:
        path.write_text(new)
        return 0
    return 0 if normalised(new) == normalised(path.read_text()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
