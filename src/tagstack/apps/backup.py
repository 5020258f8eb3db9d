"""Backs the log up, and restores it: from NATS to a folder and back. Both may be killed and run again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
from nats.aio.client import Client

from tagstack.adapters.backup_files import BackupError, BackupFolder, Manifest
from tagstack.adapters.backup_writer import BackupWriter
from tagstack.adapters.nats_backup import MessageSource
from tagstack.adapters.nats_connection import connect
from tagstack.adapters.nats_restore import FILLER, LogTarget, Restored, RestoreError, chunk_is_full
from tagstack.adapters.nats_server import NatsServer, ServerOptions
from tagstack.application.records import Record
from tagstack.apps.settings import Settings
from tagstack.apps.up import locked

Progress = Callable[[int, int], None]  # position reached, position to reach


class BackedUp(msgspec.Struct, frozen=True):
    """What a backup holds now, and what this run added."""

    position: int
    messages: int
    added: int
    segments: int


def _silent(reached: int, last: int) -> None:
    """Tell nobody."""


async def back_up(nc: Client, path: Path, progress: Progress = _silent) -> BackedUp:
    """Bring the backup in a folder up to the log's last event, and return what it holds.

    Raises: BackupError where the folder holds a backup of another log, or is damaged; Unavailable.
    """
    source = await MessageSource(nc).start()
    state = await source.state()
    with BackupFolder(path).locked() as folder:
        manifest = folder.manifest()
        if manifest is None:
            folder.write_manifest(manifest := Manifest(state.identity))
        else:
            await _check_same_log(source, manifest, path)
        before = manifest.messages
        with BackupWriter(folder, manifest) as writer:
            async for records in source.batches(manifest.reached.position, state.last):
                writer.add(records)
                progress(records[-1].position, state.last)
            manifest = writer.finish()
    after = manifest.messages
    return BackedUp(manifest.reached.position, after, after - before, len(manifest.segments))


async def _check_same_log(source: MessageSource, manifest: Manifest, path: Path) -> None:
    state = await source.state()
    if state.identity != manifest.log:
        raise BackupError(f"{path} is the backup of another log ({manifest.log}, this one is {state.identity})")
    reached = manifest.reached
    if reached.position > state.last:
        raise BackupError(
            f"{path} reaches position {reached.position}, the log ends at {state.last}: it lost its tail; "
            "restore the backup into it, or back up into another folder"
        )
    found = await source.at(reached.position) if reached.position else None
    if reached.position and (found is None or found.digest() != reached.sha256):
        raise BackupError(
            f"{path}: the log has another event at position {reached.position}: it lost its tail and was "
            "written on; back up into another folder"
        )


async def restore(nc: Client, path: Path, replicas: int = 1, progress: Progress = _silent) -> Restored:
    """Write a backup into an empty log, or into one that is the beginning of it, and return what was done.

    Raises: BackupError for a damaged folder, RestoreError where the log is another one; Unavailable.
    """
    folder = BackupFolder(path)
    manifest = folder.manifest()
    if manifest is None:
        raise BackupError(f"{path} holds no backup: it has no manifest")
    if faults := list(folder.faults(manifest)):
        raise BackupError("; ".join(faults))
    target = await LogTarget(nc, replicas).start()
    found = target.last
    await _check_beginning(nc, folder, manifest, found)
    await target.begin(manifest.log)
    for chunk in _chunks(folder.records(manifest, after=found)):
        await target.append(chunk)
        progress(target.last, manifest.reached.position)
    await target.finish()
    return Restored(target.last, found)


async def _check_beginning(nc: Client, folder: BackupFolder, manifest: Manifest, last: int) -> None:
    """Compare every message of the log with the backup's. Raises RestoreError naming the first that differs."""
    if last > manifest.reached.position:
        raise RestoreError(f"the log ends at {last}, behind the backup's last position {manifest.reached.position}")
    source = await MessageSource(nc).start()
    kept = folder.records(manifest)
    async for record in _each(source.pages(0, last)):
        if record.subject == FILLER:
            continue  # a restore was killed before it took it out again
        copied = next(kept, None)
        if copied is None or copied.digest() != record.digest():
            raise RestoreError(
                f"the log is not empty and not the beginning of this backup: they differ at position {record.position}"
            )


async def _each(pages: AsyncIterator[list[Record]]) -> AsyncIterator[Record]:
    async for page in pages:
        for record in page:
            yield record


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += record.size
        if chunk_is_full(chunk, size):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def restore_home(settings: Settings, path: Path, progress: Progress = _silent) -> Restored:
    """Restore into a home whose service is stopped, on its own server, started for this only.

    Raises: as `restore`, and Unavailable where `tagstack up` uses the home.
    """
    settings.home_path.mkdir(parents=True, exist_ok=True)
    with locked(settings.home_path):
        options = ServerOptions(sync_interval=settings.sync_interval, memory_mb=settings.server_memory_mb)
        server = await asyncio.to_thread(NatsServer(settings.home_path / "nats", options).start)
        try:
            nc = await connect(server.url, "tagstack-restore", patient=False)
            try:
                return await restore(nc, path, settings.replicas, progress)
            finally:
                await nc.close()
        finally:
            await asyncio.to_thread(server.stop)
