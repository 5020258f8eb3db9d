"""The command line against everything that `tagstack up` runs: SQL, the log, status, signals and pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_sql_client import Question, SqlAnswer
from tests.e2e.cli_service import digest, mapping
from tests.e2e.service import Up, running

A, B = digest("a"), digest("b")
WAIT_S = 30.0
ENDLESS = "SELECT count(*) FROM range(1000000000000)"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A whole service with a tag that moved once; tests write to namespaces of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGSTACK_SQL_TIMEOUT_S", "300")  # so that a statement ends by a cancel and nothing else
        patch.setenv("TAGSTACK_SNAPSHOT_INTERVAL_MS", "1000")  # so that reading one's own write has to wait
        with running(tmp_path_factory.mktemp("home")) as service:
            for image in (A, B):
                assert push(service, "team/app:latest", image).returncode == 0
            yield service


def push(up: Up, ref: str, image: str) -> subprocess.CompletedProcess[str]:
    """Put an image at a tag, from stdin."""
    namespace, _, name = ref.partition("/")
    body = json.dumps(mapping(name, image))
    return up.run("apply", "-f", "-", "-n", namespace, "--reason", "why", stdin=body)


def started(up: Up, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a verb that a signal or a pipe will end; Ctrl-C reaches it as from a terminal."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tagstack", *arguments],
        env=environment | {"TAGSTACK_HOME": str(up.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def test_log_shows_events_in_order(up: Up) -> None:
    """`log` prints the rows of `events`, oldest first, of everything, a project, an image stream or a tag."""
    rows = up.json("log", "team/app:latest")
    assert [(row["type"], row["image"], row["reason"]) for row in rows] == [
        ("image_tagged", A, "why"),
        ("image_tagged", B, "why"),
    ]
    assert rows[1]["previous_image"] == A and rows[0]["data"]["tag"] == "latest"
    assert up.json("log", "team/app")[0]["type"] == "image_stream_created"
    assert {row["namespace"] for row in up.json("log", "team")} == {"team"}
    assert [row["position"] for row in up.json("log", "team", "--limit", "1")] == [rows[1]["position"]]
    for scope, resource in (("team/nope", "imagestreams"), ("team/app:nope", "imagestreamtags")):
        missing = up.run("log", scope)
        assert missing.returncode == 1 and f"{resource}.image.openshift.io" in missing.stderr
    table = up.run("log").stdout.splitlines()
    assert table[0].split()[:4] == ["POSITION", "TIME", "TYPE", "SUBJECT"]
    assert any("team/app:latest" in line and "why" in line for line in table)


def test_a_command_sees_its_own_effects(up: Up) -> None:
    """What was just written is in the next answer of `sql`, `log`, `as-of` and `history`, every time."""
    for number in range(3):
        assert push(up, f"own/app:v{number}", A).returncode == 0
        counted = up.json("sql", "SELECT count(*) AS tags FROM current_tags WHERE namespace = 'own'")
        assert counted == [{"tags": number + 1}]
    assert len(up.json("as-of", "now", "own")) == 3
    assert len(up.json("history", "own/app")) == 3


def test_an_image_is_found_by_a_unique_prefix_of_its_digest(up: Up) -> None:
    """With and without the algorithm, from 12 digits on; an ambiguous one names the candidates, none is not found.

    Seen to fail when `get._image` asks for the name only, when it takes the first of several, and for any length.
    """
    one, other = (f"sha256:{'c' * 12}{end * 52}" for end in "12")
    for number, image in enumerate((one, other)):
        assert push(up, f"prefix/app:v{number}", image).returncode == 0
    for prefix in (one[:20], one[7:20], one[7:], one):
        assert up.run("get", "image", prefix, "-o", "name").stdout == f"image.image.openshift.io/{one}\n"
    assert one in up.run("describe", "image", one[:20]).stdout
    for prefix in ("c" * 12, f"sha256:{'c' * 12}"):
        ambiguous = up.run("describe", "image", prefix)
        assert ambiguous.returncode == 1 and f'the prefix "{prefix}": {one}, {other}' in ambiguous.stderr
    for prefix in ("c" * 11, "d" * 12, "app"):
        missing = up.run("get", "image", prefix)
        assert missing.returncode == 1 and f'images.image.openshift.io "{prefix}" not found' in missing.stderr


def test_as_of_without_a_namespace_shows_every_project(up: Up) -> None:
    """`as-of` has the columns of `current_tags`; a time before everything shows nothing."""
    rows = up.json("as-of", "now")
    (row,) = [row for row in rows if row["namespace"] == "team"]
    assert row["image"] == B and row["moves"] == 2 and row["held_by"] is None
    assert up.json("as-of", "2020-01-01") == []


def test_sql_formats(up: Up, tmp_path: Path) -> None:
    """An answer is printed as a table, as JSON, as CSV, or written as Parquet."""
    query = "SELECT 1 AS number, NULL AS nothing, ['a'] AS list, 'x,\"y' AS text"
    assert up.json("sql", query) == [{"number": 1, "nothing": None, "list": ["a"], "text": 'x,"y'}]
    assert up.run("sql", query, "-o", "csv").stdout == 'number,nothing,list,text\n1,,"[""a""]","x,""y"\n'
    assert up.run("sql", "-", stdin=query).stdout.splitlines()[1].split()[:2] == ["1", "NULL"]
    file = tmp_path / "rows.parquet"
    with file.open("wb") as target:
        process = started(up, "sql", "SELECT * FROM range(5000)", "-o", "parquet")
        target.write(process.communicate(timeout=WAIT_S)[0])
    assert pq.read_table(file).num_rows == 5000
    assert up.json("sql", "FROM events WHERE false") == []


def test_sql_errors_point_into_the_statement(up: Up) -> None:
    """A wrong statement gets DuckDB's message with the position in its text, exit 1."""
    done = up.run("sql", "SELECT nope FROM events")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: Binder Error") and done.stderr.rstrip().endswith("^")
    assert up.run("sql", "DROP TABLE events").returncode == 1


def test_status_and_rebuild(up: Up) -> None:
    """`status` tells positions, lag, dead letters and what is unsorted; a rebuild ends at the position, sorted."""
    found = up.json("status")
    assert found["log"]["position"] > 0 and found["deadLetters"] == 0
    assert {"name", "position", "lag"} == set(found["readModels"][0])
    told = up.run("status", "--check")
    assert told.returncode == 0 and "TAGSTACK_EVENTS" in told.stdout
    assert f"unsorted events {found['log']['position']}\n" in told.stdout
    assert up.run("rebuild").stdout == f"rebuilt at position {found['log']['position']}\n"
    after = up.json("status")
    assert {model["lag"] for model in after["readModels"]} == {0}
    assert "unsorted events 0\n" in up.run("status").stdout


def test_images_are_listed(up: Up) -> None:
    """`get image` lists every image; one is found by its name."""
    assert {image["metadata"]["name"] for image in up.json("get", "image")["items"]} >= {A, B}


def test_watch_prints_changes_and_ends_with_ctrl_c(up: Up) -> None:
    """A change is printed as it happens; Ctrl-C ends the verb with 130 and not a word on stderr."""
    process = started(up, "watch", "live/*", "-o", "json")
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    seen, number, deadline = b"", 0, time.monotonic() + WAIT_S
    while b"\n" not in seen and time.monotonic() < deadline:
        number += 1
        push(up, f"live/app:v{number}", A)  # until it has subscribed
        seen += process.stdout.read() or b""
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=WAIT_S)
    event = json.loads((seen + rest).splitlines()[0])
    assert event["imageStream"] == "app" and event["image"] == A and event["actor"]
    assert (process.returncode, errors) == (130, b"")


def test_ctrl_c_cancels_the_statement(up: Up) -> None:
    """Ctrl-C ends `sql` at once and stops the statement in the service, too."""
    process = started(up, "sql", ENDLESS)
    url = f"{up.endpoints['http']}/metrics"
    wait_for_metric(url, "tagstack_sql_in_flight", 1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_S) == (b"", b"") and process.returncode == 130
    wait_for_metric(url, "tagstack_sql_in_flight", 0)


def wait_for_metric(url: str, name: str, value: float) -> None:
    """Wait until a metric has a value."""
    import urllib.request

    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        if any(line.startswith(f"{name} ") and float(line.split()[1]) == value for line in lines):
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} did not become {value}")


def test_answers_left_half_way_harm_nobody(up: Up) -> None:
    """However many answers are left half-way, the next statement is answered."""

    async def leaving() -> list[list[Any]]:
        async with ServiceClient(up.endpoints["nats"], "alice") as client:
            for _ in range(12):
                async with SqlAnswer(client, Question("SELECT * FROM range(500000)")) as answer:
                    await anext(answer.rows())
            async with SqlAnswer(client, Question("SELECT 42")) as answer:
                return [row async for row in answer.rows()]

    assert asyncio.run(asyncio.wait_for(leaving(), WAIT_S)) == [[42]]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_json_that_is_nested_too_deeply_is_told(up: Up, form: str) -> None:
    """A value that can't be read back is one line with a way out, no traceback.

    Seen to fail when `SqlAnswer.rows` let json's RecursionError through.
    """
    done = up.run("sql", "SELECT (repeat('[', 100000) || repeat(']', 100000))::JSON", "-o", form)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "error: a JSON value is nested too deeply: select it as text, `::VARCHAR`" in done.stderr


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_reader_that_goes_is_no_error(up: Up, form: str) -> None:
    """`tagstack sql ... | head` ends quietly as other programs do."""
    process = started(up, "sql", "SELECT * FROM range(500000)", "-o", form)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(WAIT_S), errors) == (141, b"")
