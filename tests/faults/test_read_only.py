"""What if the kernel makes a broken disk read-only? Refused with a hint, readers go on, and nothing is lost."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagstack.adapters.nats_streams import log_position
from tests.e2e.service import Up, running
from tests.examples_nats import client_of
from tests.faults.test_no_space import check_refusal, fill, goes_on

DISK_BYTES = 512 * 1024 * 1024
COMMANDS = 50
COUNT = "SELECT count(*)::INTEGER AS n FROM tag_history"
NAME = "prod/api:latest"


class Disk:
    """A file system in a file, which the kernel makes read-only at its first error."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder

    def make(self) -> None:
        """Make the file system. Raises CalledProcessError, or OSError where there are no tools."""
        with self._image.open("wb") as file:
            file.truncate(DISK_BYTES)
        self.folder.mkdir()
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        """Mount it, writable."""
        command = ["mount", "-o", "loop,errors=remount-ro", self._image, self.folder]
        subprocess.run(command, check=True, capture_output=True)

    def unmount(self) -> None:
        """Unmount it, which needs that nobody uses it."""
        subprocess.run(["umount", self.folder], check=True, capture_output=True)

    def fail(self) -> None:
        """Let the kernel find an error."""
        told = subprocess.run(["losetup", "-j", self._image], check=True, capture_output=True, text=True)
        device = Path(told.stdout.partition(":")[0]).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("test")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that can fail; skipped where mounting is not permitted."""
    disk = Disk(tmp_path / "image", tmp_path / "disk")
    try:
        disk.make()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a disk of our own is not permitted here: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", disk.folder], check=False, capture_output=True)


def test_the_disk_becomes_read_only(disk: Disk, monkeypatch: Any) -> None:
    """Commands are refused while it is, readers go on, it stops in order; mounted anew, all acknowledged is there.

    What was not synced is gone with such a disk as in a power cut, hence `always`.

    Seen to fail when `up` insisted on removing its endpoints: it ended with a traceback.
    """
    monkeypatch.setenv("TAGSTACK_SYNC_INTERVAL", "always")
    positions: list[int] = []

    async def push(up: Up) -> None:
        async with client_of(up.endpoints["nats"]) as client:
            positions.extend((await fill(client, commands_max=COMMANDS))[0])

    async def check_refused(up: Up) -> None:
        async with client_of(up.endpoints["nats"]) as client:
            acknowledged, refusal = await fill(client, first=1_000)
            positions.extend(acknowledged)
            check_refusal(refusal)

    with running(disk.folder / "home") as up:
        asyncio.run(push(up))
        assert up.json("sql", COUNT) == [{"n": COMMANDS}]
        disk.fail()
        asyncio.run(check_refused(up))
        assert up.json("sql", COUNT) == [{"n": COMMANDS}]
        assert up.run("history", NAME).returncode == 0
        told = up.stop()
        assert told.endswith("stopping ...\nstopped\n"), told
    disk.unmount()
    disk.mount()
    with running(disk.folder / "home") as up:

        async def look() -> None:
            async with client_of(up.endpoints["nats"]) as client:
                assert await log_position(client) >= max(positions)
                await goes_on(client, positions)

        asyncio.run(look())
        told = up.run("verify")
        assert told.returncode == 0, told.stdout
