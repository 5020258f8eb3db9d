"""`tagstack up`: starts everything, tells where it listens, continues where it was, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from select import select

import duckdb
import pytest

from tagstack.adapters.nats_server import NatsServer
from tests.e2e.service import Up, running

SAMPLES = Path(__file__).parent.parent / "samples"
RUBY = str(SAMPLES / "imagestreammapping-ruby.yaml")
WAIT_S = 20.0


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def alive(pids: list[int]) -> list[int]:
    """Return those processes that still run; a zombie does not."""
    return [pid for pid in pids if (stat := Path(f"/proc/{pid}/stat")).exists() and ") Z " not in stat.read_text()]


def wait_gone(pids: list[int]) -> list[int]:
    """Wait until processes have ended; return those that have not."""
    deadline = time.monotonic() + WAIT_S
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive(pids)


def get(url: str) -> tuple[int, str]:
    """Return status and text of an HTTP request."""
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_starts_everything_and_stops_without_a_trace(tmp_path: Path) -> None:
    """Health, readiness and metrics answer; the banner says what to type; Ctrl-C leaves no process and no file."""
    up = Up(tmp_path, "--nats-port", "0", "--http-port", "0").start()
    assert up.process is not None
    assert get(up.endpoints["http"] + "/healthz")[0] == 200
    assert get(up.endpoints["http"] + "/readyz")[0] == 200
    metrics = get(up.endpoints["http"] + "/metrics")[1]
    assert "tagstack_commands_total" in metrics
    assert "tagstack_projector_" in metrics
    below = descendants(up.process.pid)
    assert len(below) >= 4
    output = up.stop(signal.SIGINT)
    assert up.process.returncode == 0
    assert up.endpoints["nats"] in output
    assert "tagstack apply -f" in output
    assert output.endswith("stopping ...\nstopped\n")
    assert wait_gone(below) == []
    assert not (tmp_path / "endpoints.json").exists()
    assert list((tmp_path / "run").glob("*.json")) == []


def test_it_continues_where_it_was(tmp_path: Path) -> None:
    """What was stored before a SIGTERM is there after the next start, in the log and in SQL."""
    with running(tmp_path) as up:
        assert up.run("apply", "-f", RUBY).returncode == 0
        before = up.json("history", "test/origin-ruby-sample:latest")
    with running(tmp_path) as up:
        assert up.json("history", "test/origin-ruby-sample:latest") == before
        rows = up.json("sql", "SELECT image, position FROM current_tags")
        assert [row["position"] for row in rows] == [before[0]["position"]]


def test_a_killed_up_takes_its_children_along(tmp_path: Path) -> None:
    """After kill -9 no child runs, no lock is left, and the next start continues."""
    up = Up(tmp_path, "--nats-port", "0", "--http-port", "0").start()
    assert up.process is not None
    assert up.run("apply", "-f", RUBY).returncode == 0
    below = descendants(up.process.pid)
    up.stop(signal.SIGKILL)
    assert wait_gone(below) == []
    with running(tmp_path) as again:
        assert again.run("get", "istag", "test/origin-ruby-sample:latest").returncode == 0


def test_a_second_one_on_the_same_home_is_refused(tmp_path: Path) -> None:
    """Two on one home would write the same files: the second says so and exits 3."""
    with running(tmp_path) as up:
        second = up.run("up", "--home", str(tmp_path), "--nats-port", "0", "--http-port", "0")
        assert second.returncode == 3
        assert "another `tagstack up`" in second.stderr
        assert "Traceback" not in second.stderr
        assert up.run("status").returncode == 0


def test_it_uses_a_server_that_is_there(tmp_path: Path, nats_server: NatsServer) -> None:
    """With --nats no server is started and none is stopped."""
    with running(tmp_path / "home", "--nats", nats_server.url) as up:
        assert up.endpoints["nats"] == nats_server.url
        assert up.run("apply", "-f", RUBY).returncode == 0
        assert not (tmp_path / "home" / "nats").exists()
    assert nats_server.running()


def test_a_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    """kill -9 of the command worker costs moments, not the service.

    Seen to fail when `Child.revive` starts nothing.
    """
    with running(tmp_path) as up:
        told = tmp_path / "run" / "commands.json"
        first = json.loads(told.read_bytes())["pid"]
        os.kill(first, signal.SIGKILL)
        done = subprocess.CompletedProcess[str]([], 1)
        deadline = time.monotonic() + WAIT_S
        while done.returncode != 0 and time.monotonic() < deadline:
            done = up.run("apply", "-f", RUBY)
        assert done.returncode == 0, done.stderr
        assert json.loads(told.read_bytes())["pid"] != first


def test_the_snapshot_opens_from_another_process_while_up_runs(tmp_path: Path) -> None:
    """An analyst's own DuckDB reads HOME/live/tagstack.duckdb as an ordinary file."""
    with running(tmp_path) as up:
        assert up.run("apply", "-f", RUBY).returncode == 0
        assert up.json("sql", "SELECT count(*) AS n FROM current_tags") == [{"n": 1}]
        with duckdb.connect(up.endpoints["snapshot"], read_only=True) as reader:
            assert reader.execute("SELECT image_stream FROM current_tags").fetchall() == [("origin-ruby-sample",)]


def test_it_comes_up_without_what_only_readers_need(tmp_path: Path) -> None:
    """A check that complains at the start holds up snapshots, not commands: `up` says which, and when it is well.

    Seen to fail when `up` waited for every worker: it gave up after a minute.
    """
    checks = tmp_path / "own" / "pushed" / "checks.sql"
    checks.parent.mkdir(parents=True)
    checks.write_text("SELECT 'nobody pushed' AS complaint, '' AS detail WHERE NOT EXISTS (FROM events)")
    with running(tmp_path / "home", "--projections", str(tmp_path / "own")) as up:
        assert "nobody pushed" in get(up.endpoints["http"] + "/readyz")[1]
        assert up.run("sql", "FROM events").returncode == 3
        assert up.run("apply", "-f", RUBY).returncode == 0
        assert up.json("sql", "SELECT count(*) AS n FROM current_tags") == [{"n": 1}]
        output = printed(up, "everything is ready now")
    assert "tagstack is up" in output
    assert "not everything is ready yet: projector: snapshots are withheld, since pushed complains" in output


def printed(up: Up, text: str) -> str:
    """Return what `up` prints, to the end of a text."""
    assert up.process is not None and up.process.stdout is not None
    read, deadline = "", time.monotonic() + WAIT_S
    while text not in read:
        assert select([up.process.stdout], [], [], max(deadline - time.monotonic(), 0))[0], read
        read += os.read(up.process.stdout.fileno(), 65_536).decode()
    return read


def test_a_setting_that_does_not_exist_is_told(tmp_path: Path) -> None:
    """An unknown TAGSTACK_ variable is an error that names it, not a silent default."""
    done = subprocess.run(
        [sys.executable, "-m", "tagstack", "up", "--home", str(tmp_path)],
        env=os.environ | {"TAGSTACK_NATS_PROT": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 2
    assert "TAGSTACK_NATS_PROT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "files", "complaint"),
    [
        ("--projections", {}, "there is no folder"),
        ("--projections", {"own/schema.sql": "CREATE TABEL x (i INT)"}, 'near "TABEL"'),
        ("--projections", {"own/apply.sql": "CREATE OR REPLACE TEMP TABLE x AS SELECT actr FROM batch"}, "actr"),
        ("--projections", {"own/checks.sql": "SELECT complaint FROM nowhere"}, "own/checks.sql: Catalog Error"),
        ("--grants", {}, "No such file"),
    ],
)
def test_a_file_that_can_not_be_used_is_told_at_once(
    tmp_path: Path, option: str, files: dict[str, str], complaint: str
) -> None:
    """Before anything is started, projections and grants are read, and the user's own SQL is tried without events.

    Seen to fail without `_check_files`: `up` waited for a minute for workers that could not start. Without
    `rehearse` a wrong apply.sql was found at the first event, and nothing could be asked any more.
    """
    given = tmp_path / "given"
    for name, text in files.items():
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tagstack", "up", "--home", str(tmp_path / "home"), option, str(given)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 2
    assert f"{option}, must be a" in done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()
