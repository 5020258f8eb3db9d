"""Backup: a copy of the log in plain files, made while the service runs, one step ahead of every crash."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tagstack.adapters import backup_writer, nats_backup
from tagstack.adapters.backup_files import BackupError, BackupFolder, line_of, record_of
from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_backup import LOG_ID, MessageSource
from tagstack.adapters.nats_streams import declarations, declare, jetstream
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.records import Record
from tagstack.apps.backup import back_up
from tests.logs import ask, connected, do_everything, everything, mapping, worker


def test_messages_larger_than_a_page_are_backed_up_too(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page has one message at least, whatever its size; the largest that the server takes fits in."""
    monkeypatch.setattr(nats_backup, "PAGE_BYTES_MAX", 1_000)

    async def scenario() -> None:
        async with connected(nats_url) as client:
            await declare(client)
            appender = await Appender(PlainTransport(client)).start()
            for size in (10, 7_900_000, 2_000):
                await appender.append(Message("tagstack.events.a.b.stream", b'"' + b"x" * size + b'"', {}))
            await back_up(client, tmp_path)
            assert [len(record.body) for record in kept(tmp_path)] == [12, 7_900_002, 2_002]

    asyncio.run(scenario())


def test_a_full_disk_is_told_of_and_leaves_the_backup(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be written is one clear error; the backup of before is valid and goes on when there is room."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)
            before = kept(tmp_path)
            await ask(client, "prod.app", mapping("app", 2))
            monkeypatch.setattr(backup_writer, "open_new", full_disk)
            with pytest.raises(BackupError, match="can't be written: No space left on device"):
                await back_up(client, tmp_path)
            monkeypatch.undo()
            assert kept(tmp_path) == before
            assert (await back_up(client, tmp_path)).added == 2

    asyncio.run(scenario())


def full_disk(path: Path) -> IO[bytes]:
    """Return a file that takes nothing, as on a full disk."""
    return Path("/dev/full").open("wb", buffering=0)


def files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder, by name."""
    return sorted(folder.glob(pattern))


def kept(folder: Path) -> list[Record]:
    """Return every message of a backup."""
    backup = BackupFolder(folder)
    manifest = backup.manifest()
    assert manifest is not None
    assert list(backup.faults(manifest)) == []
    return list(backup.records(manifest))


def test_a_backup_holds_every_message_of_the_log(nats_url: str, tmp_path: Path) -> None:
    """Positions, subjects, headers, times and bytes are those of the log."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await do_everything(client)
            done = await back_up(client, tmp_path / "backup")
            log = await everything(client)
            assert kept(tmp_path / "backup") == log
            assert (done.position, done.messages, done.added) == (log[-1].position, len(log), len(log))

    asyncio.run(scenario())


def test_a_backup_is_readable_without_tagstack(nats_url: str, tmp_path: Path) -> None:
    """A segment is gzipped JSON lines with the body as an object; the manifest names its SHA-256."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)

    asyncio.run(scenario())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (segment,) = manifest["segments"]
    content = (tmp_path / segment["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == segment["sha256"]
    lines = [json.loads(line) for line in gzip.decompress(content).splitlines()]
    assert [line["position"] for line in lines] == [1, 2, 3]
    assert lines[-1]["body"]["type"] == "image_tagged"
    assert lines[-1]["headers"]["ce-type"] == "dev.tagstack.image_tagged"


def test_a_second_backup_adds_only_what_is_new(nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full segments are never written again; the open one grows; nothing is left over.

    Seen to fail when `BackupWriter._begin` begins a segment of its own each time.
    """
    monkeypatch.setattr(backup_writer, "SEGMENT_MESSAGES_MAX", 4)

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await ask(client, "prod.app", mapping("app", 2))
            first = await back_up(client, tmp_path)
            untouched = {path: path.stat().st_mtime_ns for path in files(tmp_path, "log-000000000001-*")}
            await ask(client, "prod.app", mapping("app", 3))
            second = await back_up(client, tmp_path)
            again = await back_up(client, tmp_path)
            assert (first.added, second.added, again.added) == (5, 2, 0)
            assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
            assert kept(tmp_path) == await everything(client)
            names = [path.name for path in files(tmp_path, "log-*")]
            assert names == ["log-000000000001-000000000004.jsonl.gz", "log-000000000005-000000000007.jsonl.gz"]

    asyncio.run(scenario())


def test_a_batch_that_is_not_stored_to_its_end_is_left_to_the_next_backup(nats_url: str) -> None:
    """Events that are stored together are backed up together, or not at all."""

    async def scenario() -> None:
        async with connected(nats_url) as client:
            await declare(client)
            appender = await Appender(PlainTransport(client)).start()
            three = [Message(f"tagstack.events.a.b.tag.{tag}", b"{}", {}) for tag in "xyz"]
            await appender.append(three[0])
            await appender.append_batch(three)
            log = await everything(client)
            assert [record.is_inside_batch for record in log] == [False, True, True, False]
            source = await MessageSource(client).start()
            assert [record.position async for page in source.batches(0, 3) for record in page] == [1]
            assert [record.position async for page in source.batches(0, 4) for record in page] == [1, 2, 3, 4]

    asyncio.run(scenario())


def test_a_killed_backup_leaves_the_one_before_it(nats_url: str, tmp_path: Path) -> None:
    """What a backup has half written is no part of the folder, and the next run removes it."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)
            before = kept(tmp_path)
            await ask(client, "prod.app", mapping("app", 2))
            log = await everything(client)
            folder = BackupFolder(tmp_path)
            manifest = folder.manifest()
            assert manifest is not None
            with backup_writer.BackupWriter(folder, manifest) as killed:
                killed.add(log[3:])  # and never finished
            assert kept(tmp_path) == before
            await back_up(client, tmp_path)
            assert kept(tmp_path) == log
            assert files(tmp_path, "*.part") == []

    asyncio.run(scenario())


KILLED = """
import asyncio, sys, nats
from pathlib import Path
from tagstack.adapters import backup_writer, nats_backup
from tagstack.apps import backup
backup_writer.SEGMENT_MESSAGES_MAX, nats_backup.PAGE_MESSAGES_MAX = 4, 3
def told(reached, last):
    if reached >= 9:
        print("half", flush=True)
        sys.stdin.read()
async def main():
    await backup.back_up(await nats.connect(sys.argv[1]), Path(sys.argv[2]), progress=told)
asyncio.run(main())
"""


def run_and_kill(url: str, folder: Path) -> None:
    """Back up in a process of its own and kill it when it is past position 9."""
    command = [sys.executable, "-c", KILLED, url, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        os.kill(process.pid, signal.SIGKILL)


def test_a_backup_killed_half_way_keeps_the_segments_it_finished(nats_url: str, tmp_path: Path) -> None:
    """After kill -9 the folder is a valid backup up to the last full segment, and the next run goes on from there.

    Seen to fail when `BackupWriter.add` finishes no segment before the end.
    """

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await do_everything(client)
            await asyncio.to_thread(run_and_kill, nats_url, tmp_path)
            log = await everything(client)
            half = kept(tmp_path)
            assert half == log[: len(half)]
            assert 4 <= len(half) < len(log)
            done = await back_up(client, tmp_path)
            assert done.added == len(log) - len(half)
            assert kept(tmp_path) == log

    asyncio.run(scenario())


def test_a_backup_of_another_log_is_refused(nats_url: str, tmp_path: Path) -> None:
    """Into a folder goes one log only; the message says which two they are."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)
            await client.jetstream().delete_stream("TAGSTACK_EVENTS")
            await declare(client)
            with pytest.raises(BackupError, match="is the backup of another log"):
                await back_up(client, tmp_path)

    asyncio.run(scenario())


def test_a_log_that_lost_its_tail_is_not_backed_up_over_it(nats_url: str, tmp_path: Path) -> None:
    """Where the log is shorter than the backup, or has another event at its end, the backup is kept as it is."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)
            before = kept(tmp_path)
            identity = {"metadata": {LOG_ID: (await MessageSource(client).state()).identity}}
            await client.jetstream().delete_stream("TAGSTACK_EVENTS")
            await jetstream(client, "STREAM.CREATE.TAGSTACK_EVENTS", declarations()[0] | identity)
            with pytest.raises(BackupError, match="reaches position 3, the log ends at 0: it lost its tail"):
                await back_up(client, tmp_path)
            for number in (2, 3):
                await ask(client, "prod.other", mapping("other", number))
            with pytest.raises(BackupError, match="another event at position 3"):
                await back_up(client, tmp_path)
            assert kept(tmp_path) == before

    asyncio.run(scenario())


def test_a_damaged_segment_is_not_built_upon(nats_url: str, tmp_path: Path) -> None:
    """A segment whose bytes changed is named, by a check and by the next backup.

    Seen to fail when `backup_writer._check` does not compare the checksum.
    """

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            await back_up(client, tmp_path)
            await ask(client, "prod.app", mapping("app", 2))
            (segment,) = files(tmp_path, "log-*")
            content = bytearray(segment.read_bytes())
            content[len(content) // 2] ^= 1
            segment.write_bytes(content)
            with pytest.raises(BackupError, match=segment.name):
                await back_up(client, tmp_path)
            manifest = BackupFolder(tmp_path).manifest()
            assert manifest is not None
            (fault,) = BackupFolder(tmp_path).faults(manifest)
            assert segment.name in fault

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b'{"a": 1}', b"1\n", b' {"a":1}', b'{"a":"\xc3\xa4"}', b"nonsense"])
def test_a_body_comes_back_byte_for_byte(body: bytes) -> None:
    """Whatever is in the log is kept as it is, events or not."""
    record = Record(7, "2026-01-01T00:00:00Z", "tagstack.events.a.b.stream", {"ce-id": "ä\n"}, body)
    assert record_of(line_of(record)) == record
