"""The command line as a shell sees it: exit codes, `-o json` and what is printed where."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.contract.outside import WAIT_S, Outside, digest
from tests.e2e.service import Up

A, B = digest(1), digest(2)
MAPPING = f"""
kind: ImageStreamMapping
metadata: {{name: shell, namespace: cli}}
tag: x
image: {{dockerImageReference: "r.example/a@{A}"}}
---
kind: ImageStreamMapping
metadata: {{name: shell, namespace: cli}}
tag: x
image: {{dockerImageReference: "r.example/a@{B}"}}
"""


@pytest.fixture(scope="module", autouse=True)
def applied(up: Up) -> None:
    """Two images at one tag."""
    assert up.run("apply", "-f", "-", "--reason", "both", stdin=MAPPING).returncode == 0


def test_a_relation_is_printed_as_a_list_of_its_rows(up: Up, outside: Outside) -> None:
    """`history`, `log`, `as-of` and `sql` print what SQL answers, and include what was just written."""
    history = up.json("history", "cli/shell:x")
    assert [row["image"] for row in history] == [B, A]
    assert history == outside.sql("FROM tag_stack('cli/shell:x')", history[0]["position"])
    assert history == up.json("sql", "FROM tag_stack('cli/shell:x')")
    assert up.json("log", "cli/shell") == outside.sql("FROM events WHERE namespace = 'cli' ORDER BY position")
    assert up.json("as-of", "now", "cli") == outside.sql("FROM tags_as_of('2099-01-01') WHERE namespace = 'cli'")
    assert up.json("sql", "SELECT 1 AS a, NULL AS b") == [{"a": 1, "b": None}]


def test_a_command_prints_the_status_and_an_object_is_openshifts(up: Up) -> None:
    """Whatever verb sends the command."""
    held = up.json("hold", "cli/shell:x", "--dry-run")
    assert held["kind"] == "Status" and held["details"]["changed"] is True
    shown = up.json("get", "is", "shell", "-n", "cli")
    assert (shown["kind"], shown["apiVersion"]) == ("ImageStream", "image.openshift.io/v1")
    items = shown["status"]["tags"][0]["items"]
    assert [item["image"] for item in items] == [B, A]
    assert {"created", "dockerImageReference", "generation", "image"} <= set(items[0])


def test_the_status_says_how_far_everything_is(up: Up) -> None:
    """Exactly the keys promised."""
    status = up.json("status")
    assert set(status) == {"log", "readModels", "deadLetters"} and status["log"]["position"] > 0
    assert all(set(model) == {"name", "position", "lag"} for model in status["readModels"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["history", "cli/none:x"], 1),
        (["rollback", "cli/shell:x", "--steps", "9"], 1),
        (["sql", "DROP TABLE events"], 1),
        (["nonsense"], 2),
        (["rollback", "cli/shell:x", "--steps", "1", "--image", A], 2),
        (["rollback", "cli/shell:x", "--steps", "many"], 2),
        (["apply", "-f", "/no/such/file"], 2),
        (["get", "is", "-o", "xml"], 2),
        (["as-of", "yesterday"], 2),
        (["get", "is", "--server", "nats://127.0.0.1:1"], 3),
    ],
)
def test_an_exit_code_says_whose_turn_it_is(up: Up, arguments: list[str], code: int) -> None:
    """1 refused, 2 usage, 3 unreachable: one clear error on stderr, nothing on stdout, no traceback."""
    done = up.run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_the_log_shows_what_was_withheld(up: Up) -> None:
    """Not what the tag still points at."""
    mapping = MAPPING.replace("tag: x", "tag: held").replace("0001", "beef")
    first, second = mapping.split("---")
    up.run("apply", "-f", "-", stdin=first)
    up.run("hold", "cli/shell:held")
    up.run("apply", "-f", "-", stdin=second)
    line = up.run("log", "cli/shell:held", "-l", "1", "-o", "wide").stdout.splitlines()[-1]
    assert "push_withheld" in line and B in line


@pytest.fixture
def watching(up: Up) -> Iterator[subprocess.Popen[str]]:
    """A `tagstack watch` in a foreground of its own, where Ctrl-C is not ignored."""
    command = [sys.executable, "-m", "tagstack", "watch", "cli/w*:v?", "-o", "json"]
    with subprocess.Popen(
        command,
        env=os.environ | {"TAGSTACK_HOME": str(up.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        yield process
        process.kill()


def test_watch_prints_an_object_a_line_until_interrupted(watching: subprocess.Popen[str], outside: Outside) -> None:
    """Only what fits the pattern; Ctrl-C ends it without noise."""
    assert watching.stdout is not None and watching.stderr is not None
    os.set_blocking(watching.stdout.fileno(), False)
    lines: list[str] = []
    numbers = itertools.count(100)

    def seen() -> bool:  # it listens from some moment on
        number = next(numbers)
        outside.push("cli/watched:other", number)
        outside.push("cli/watched:v1", number)
        lines.extend(watching.stdout.readlines() if watching.stdout else [])
        return bool(lines)

    outside.until(seen)
    watching.send_signal(signal.SIGINT)
    code, noise = watching.wait(WAIT_S), watching.stderr.read()
    told = json.loads(lines[0])
    assert (told["imageStream"], told["tag"], told["type"]) == ("watched", "v1", "image_tagged")
    assert (code, noise) == (130, "")
