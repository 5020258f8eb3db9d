"""Backup, restore, verify and export as an operator types them."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from tests.e2e.service import Up, running

SAMPLES = Path(__file__).parent.parent / "samples"


def test_a_service_comes_back_from_its_backup(tmp_path: Path) -> None:
    """Backed up while it runs, restored into another home, it answers the same and verifies clean."""
    backup = str(tmp_path / "backup")
    with running(tmp_path / "old") as up:
        for sample in sorted(SAMPLES.glob("imagestreammapping-*")):
            assert up.run("apply", "-f", str(sample)).returncode == 0
        before = up.json("sql", "FROM events ORDER BY position")
        assert up.json("backup", backup)["position"] == len(before)
        refused = up.run("restore", backup)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert "another `tagstack up`" in refused.stderr
    restored = Up(tmp_path / "new").run("restore", backup)
    assert restored.returncode == 0, restored.stderr
    assert f"the log ends at position {len(before)}" in restored.stdout
    with running(tmp_path / "new") as up:
        assert up.json("sql", "FROM events ORDER BY position") == before
        report = up.json("verify", "--backup", backup)
        assert (report["position"], report["complaints"]) == (len(before), [])
        assert [checked["what"] for checked in report["checked"] if checked["notChecked"]] == []
        assert up.json("backup", backup)["added"] == 0
        assert up.json("export", str(tmp_path / "out"))["position"] == len(before)
        assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/out/events/*/*.parquet'").fetchall() == [(len(before),)]
        damaged(tmp_path / "backup")
        refused = up.run("verify", "--offline", "--backup", backup)
        assert refused.returncode == 1
        assert "backup: " in refused.stdout
        assert "SHA-256 is" in refused.stdout


def damaged(folder: Path) -> None:
    """Change one bit of a backup."""
    name = json.loads((folder / "manifest.json").read_text())["segments"][0]["file"]
    content = bytearray((folder / name).read_bytes())
    content[100] ^= 1
    (folder / name).write_bytes(content)


def test_offline_without_a_backup_is_a_usage_error(tmp_path: Path) -> None:
    """There is nothing that could be checked."""
    refused = Up(tmp_path).run("verify", "--offline")
    assert (refused.returncode, refused.stderr) == (2, "error: --offline checks a backup: name it with --backup\n")


def test_a_folder_without_a_backup_is_named(tmp_path: Path) -> None:
    """Neither restored nor verified, and nothing is started in the home for it."""
    for arguments in (("restore", str(tmp_path)), ("verify", "--offline", "--backup", str(tmp_path))):
        refused = Up(tmp_path / "home").run(*arguments)
        assert refused.returncode == 1
        assert "holds no backup: it has no manifest" in refused.stdout + refused.stderr
