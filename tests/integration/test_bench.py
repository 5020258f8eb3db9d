"""`tagstack bench`: rows as promised, on a server of its own, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagstack.bench.figures import Row, Wanted, side_by_side
from tagstack.bench.run import run
from tagstack.bench.sizes import Sizes
from tagstack.cli.bench import show

TINY = Sizes(
    times=1,
    commands=1_024,
    hot=128,
    aliases=64,
    mappings=512,
    steady_s=0.2,
    synced=512,
    synced_single=50,
    logs=(10_000, 12_000),
    folds=1,
    lookups=10,
)
WAIT_S = 60.0


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_text() + (entry / "environ").read_text()
        except OSError:
            continue
        if entry.name.isdigit() and entry.name != str(os.getpid()) and str(folder) in line:
            found.append(line)
    return found


@pytest.mark.timeout(180)
def test_every_row_is_measured_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row has its fields, a ratio wherever there is a baseline; server, workers and home are gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def scenario() -> list[Row]:
        return [row async for row in run(TINY, lambda name, number, total: None)]

    rows = asyncio.run(scenario())
    show(rows, "json")
    told = json.loads(capsys.readouterr().out)
    assert len(told) == len({row["name"] for row in told}) >= 12
    for row in told:
        assert list(row) == ["name", "value", "unit", "baseline", "ratio", "aim", "better"]
        assert row["better"] in ("higher", "lower") and row["value"] >= 0
        assert (row["baseline"] is None) == (row["ratio"] is None)
    show(rows, "table")
    assert all(row.name in capsys.readouterr().out for row in rows[:1])
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    """An interrupt in the middle ends with its own exit code; no file and no process stays."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tagstack", "bench"]
    bench = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + WAIT_S
    while not list(tmp_path.glob("*/run/commands.json")):  # the worker is there: something is being measured
        assert time.monotonic() < deadline and bench.poll() is None
        time.sleep(0.05)
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=WAIT_S)
    assert bench.returncode == 130
    assert b"Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_ratio_is_the_median_of_neighbours() -> None:
    """One disturbed pair does not decide; who is measured first changes."""
    order: list[str] = []
    values = {"mine": iter([1.0, 9.0, 3.0]), "theirs": iter([2.0, 1.0, 2.0])}

    async def measure(name: str) -> float:
        order.append(name)
        return next(values[name])

    pairs = asyncio.run(side_by_side(lambda: measure("mine"), lambda: measure("theirs"), 3))
    assert order == ["mine", "theirs", "theirs", "mine", "mine", "theirs"]
    row = Wanted("x", "1/s", 1.0).row(pairs)
    assert (row.value, row.baseline, row.ratio, row.reached) == (3.0, 2.0, 1.5, True)


@pytest.mark.parametrize(
    ("better", "value", "aim", "reached"),
    [("higher", 2.0, 2.0, True), ("higher", 1.9, 2.0, False), ("lower", 2.0, 2.0, True), ("lower", 2.1, 2.0, False)],
)
def test_an_aim_without_a_baseline_is_for_the_value(better: str, value: float, aim: float, reached: bool) -> None:
    """More or less is better, as the row says."""
    assert Wanted("x", "ms", aim, better).alone([value]).reached is reached
    assert Wanted("x", "ms", None, better).alone([value]).reached is None
