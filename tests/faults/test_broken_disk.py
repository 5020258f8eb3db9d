"""What if the kernel makes a broken disk read-only, or the power is cut? What was synced is there afterwards."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.adapters.nats_streams import log_position
from tests.e2e.service import Up, running
from tests.examples_nats import ask, check_chain, client_of, log_of, mapping, worker
from tests.faults.test_no_space import check_refusal, fill, goes_on

FS_IOC_SHUTDOWN, WITHOUT_ITS_JOURNAL = 0x8004587D, 2  # as the kernel's own tests simulate a power cut
LOAD_S = 4.0
LOST_S_MAX = 3.0  # under `1s`, with room for a busy machine
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

    def cut_power(self) -> None:
        """Forget what was not synced, the file system's own journal included, and take nothing more."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_ITS_JOURNAL))
        os.close(descriptor)


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


@pytest.mark.parametrize("sync_interval", ["always", "1s"])
def test_the_power_is_cut(disk: Disk, sync_interval: str) -> None:
    """Under `always` nothing acknowledged is lost, under `1s` what was acknowledged last; the rest is whole.

    Seen to fail when `sync_streams` did nothing: the log as a whole was lost.
    """
    server = NatsServer(disk.folder / "nats", ServerOptions(sync_interval=sync_interval)).start()
    acknowledged: dict[int, float] = {}

    async def begin() -> None:
        async with worker(server.url):
            server.sync_streams()

    async def push() -> float:
        async with worker(server.url, sync_interval=sync_interval), client_of(server.url) as client:
            begin = time.monotonic()
            while time.monotonic() < begin + LOAD_S:
                answer = await ask(client, "prod.api", mapping("api", len(acknowledged)))
                acknowledged[answer["details"]["position"]] = time.monotonic()
            disk.cut_power()
            return time.monotonic()

    async def look(cut: float) -> None:
        async with client_of(server.url) as client:
            stored = await log_of(client)
            check_chain(stored)
            lost = set(acknowledged) - {event.position for event in stored}
            assert not lost or sync_interval != "always"
            assert all(cut - acknowledged[position] < LOST_S_MAX for position in lost)

    try:
        asyncio.run(begin())
        cut = asyncio.run(push())
        server.kill()
        disk.unmount()
        disk.mount()
        server.start()
        asyncio.run(look(cut))
    finally:
        server.kill()
