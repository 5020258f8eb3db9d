"""Verifies what is stored: the log by its own rules, and what is derived from it against the log.

A running service may be verified: what is checked ends at the position the log had at the start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client

from tagstack.adapters.backup_files import BackupError, BackupFolder, Manifest
from tagstack.adapters.duckdb_compare import Comparison
from tagstack.adapters.duckdb_once import Once
from tagstack.adapters.nats_backup import MessageSource, tags_source
from tagstack.adapters.nats_streams import EVENTS_STREAM, RESTORING, stream_info
from tagstack.adapters.nats_subjects import TAGS, event_id, event_subject, tag_events
from tagstack.adapters.snapshot_file import stamp
from tagstack.application.folding import RELATIONS, AsOf, Folding
from tagstack.application.records import Record
from tagstack.application.verification import Complaint, Findings, Verification, body_digest
from tagstack.application.verified import TagSeen
from tagstack.domain.events import Event
from tagstack.domain.names import ImageStreamName

TAGS_WAIT_S = 10.0  # the server fills TAGSTACK_TAGS by itself, moments later
TAGS_RETRY_S = 0.1
SNAPSHOT_WAIT_S = 10.0
SNAPSHOT_RETRY_S = 0.25

Progress = Callable[[int, int], None]


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that was looked at: how many of it, or why it was not."""

    what: str
    count: int = 0
    not_checked: str = ""


class Report(msgspec.Struct, rename="camel"):
    """What was verified and what is wrong. `complaints_count` counts those too many to be listed."""

    position: int = 0
    checked: list[Checked] = []
    complaints: list[Complaint] = []
    complaints_count: int = 0


def _silent(reached: int, last: int) -> None:
    """Tell nobody."""


def address(event: Event) -> tuple[str, str]:
    """Return an event's subject and its `ce-id`, as the log files it."""
    subject = event_subject(event)
    return subject, event_id(event, subject)


class Fold:
    """What a snapshot has to show: the log, folded up to its position."""

    def __init__(self, shown: Comparison, log: str) -> None:
        """Fold for one snapshot; `log` says when the log was created."""
        self.shown = shown
        self._log = log
        self._folds = (Folding(shown), AsOf(shown, shown.moment))
        if shown.position == 0:
            shown.add("checkpoint", {"position": 0, "log": "", "event_id": ""})

    def see(self, record: Record, event: Event | None) -> None:
        """Fold the next message of the log."""
        if record.position > self.shown.position:
            return
        for fold in self._folds:
            fold.see(record, event)
        if record.position == self.shown.position:
            reached = {"log": self._log, "event_id": record.headers.get("ce-id", "")}
            self.shown.add("checkpoint", {"position": record.position} | reached)

    def end(self) -> None:
        """Fold what only the end tells."""
        for fold in self._folds:
            fold.end()


class Verifier:
    """Collects what is checked and what is wrong with it."""

    def __init__(self, progress: Progress = _silent) -> None:
        self._progress = progress
        self._findings = Findings()
        self._report = Report()

    def report(self) -> Report:
        """Return the outcome so far."""
        self._report.complaints = sorted(self._findings.kept, key=lambda found: (found.position or 0, found.check))
        self._report.complaints_count = self._findings.count
        return self._report

    async def log(self, nc: Client, snapshot: Path | None = None) -> None:
        """Check the log, and the last event of each tag and the read models in a snapshot against it.

        Raises: Unavailable.
        """
        source = await MessageSource(nc).start()
        state = await source.state()
        with contextlib.ExitStack() as stack:
            shown = await self._snapshot(snapshot, state.last)
            if shown is not None:
                stack.enter_context(shown)
            await self._read(nc, source, state.last, shown)
        for relation in RELATIONS if shown is None else ():
            why = f"there is no snapshot {snapshot}" if snapshot else "the snapshot is on another machine"
            self._checked(f"rows of {relation}", why_not=why)

    async def _read(self, nc: Client, source: MessageSource, last: int, shown: Comparison | None) -> None:
        if RESTORING in (await stream_info(nc, EVENTS_STREAM))["config"].get("metadata", {}):
            self._findings.add(None, "restore", "the log is half restored: run `tagstack restore` again to finish it")
        verification = Verification(self._findings, address, Once())
        fold = None if shown is None else Fold(shown, (await stream_info(nc, EVENTS_STREAM))["created"])
        last = max(last, shown.position if shown is not None else 0)
        async for records in source.pages(0, last):
            for record in records:
                event = verification.see(record)
                if fold is not None:
                    fold.see(record, event)
            self._progress(verification.position, last)
        if verification.position < last:
            self._findings.add(last, "gap", f"the positions from {verification.position + 1} on are missing")
        verification.end()
        self._report.position = last
        self._checked("events of the log", verification.events)
        self._checked("image streams", len(verification.streams))
        await self._tags(nc, verification)
        if fold is not None:
            fold.end()
            self._compare(fold.shown)

    async def _snapshot(self, path: Path | None, last: int) -> Comparison | None:
        """Return the newest snapshot, once it has reached a position, or the last one within a bound."""
        if path is None or stamp(path) is None:
            return None
        deadline = asyncio.get_running_loop().time() + SNAPSHOT_WAIT_S
        while (shown := Comparison(path)).position < last and asyncio.get_running_loop().time() < deadline:
            shown.close()
            await asyncio.sleep(SNAPSHOT_RETRY_S)
        if shown.position < last:
            self._findings.add(last, "lag", f"the read models stand at position {shown.position}, the log at {last}")
        return shown

    def _compare(self, shown: Comparison) -> None:
        for relation in RELATIONS:
            self._checked(f"rows of {relation}", shown.count(relation))
            for position, told in shown.differences(relation):
                self._findings.add(position, "read models", told)
        for relation in shown.others(RELATIONS):
            self._checked(f"rows of {relation}", why_not="what it has to hold only your own folder says")

    def backup(self, path: Path) -> None:
        """Check a backup: checksums first, then its events by the rules of the log."""
        folder = BackupFolder(path)
        manifest = self._manifest(folder)
        if manifest is None:
            return
        faults = list(folder.faults(manifest))
        for fault in faults:
            self._findings.add(None, "backup", fault)
        self._checked("segments of the backup", len(manifest.segments))
        if faults:
            self._checked("events of the backup", why_not="its files are damaged")
            return
        verification = Verification(self._findings, address, Once())
        try:
            for record in folder.records(manifest):
                verification.see(record)
                reached = record
        except BackupError as error:
            self._findings.add(None, "backup", str(error))
        else:
            if manifest.segments and reached.digest() != manifest.reached.sha256:
                self._findings.add(reached.position, "backup", "the manifest says that another event is the last")
        verification.end()
        self._checked("events of the backup", verification.events)
        self._report.position = self._report.position or verification.position

    def _manifest(self, folder: BackupFolder) -> Manifest | None:
        try:
            manifest = folder.manifest()
        except BackupError as error:
            self._findings.add(None, "backup", str(error))
            return None
        if manifest is None:
            self._findings.add(None, "backup", f"{folder.path} holds no backup: it has no manifest")
        return manifest

    async def _tags(self, nc: Client, verification: Verification) -> None:
        source = await tags_source(nc).start()
        wanted = {
            _tags_subject(ImageStreamName(namespace, stream), tag): seen
            for (namespace, stream, tag), seen in verification.tags().items()
        }
        self._checked("last events of tags (TAGSTACK_TAGS)", len(wanted))
        wrong = await _wrong_tags(source, wanted, verification.position)
        deadline = asyncio.get_running_loop().time() + TAGS_WAIT_S
        while wrong and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(TAGS_RETRY_S)
            for subject in list(wrong):
                record = await source.last(subject)
                if record is not None and _is_right(record, wanted.get(subject), verification.position):
                    del wrong[subject]
        for subject, (position, told) in sorted(wrong.items()):
            self._findings.add(position, "tags", f"{subject}: {told}")

    def _checked(self, what: str, count: int = 0, why_not: str = "") -> None:
        self._report.checked.append(Checked(what, count, why_not))


def _tags_subject(name: ImageStreamName, tag: str) -> str:
    *prefix, _, token = tag_events(name, tag).split(".")
    return ".".join([TAGS, *prefix[-2:], token])


async def _wrong_tags(source: MessageSource, wanted: dict[str, TagSeen], last: int) -> dict[str, tuple[int, str]]:
    """Return, by subject, what differs from the last event of each tag, or lags behind it."""
    wrong = {subject: (seen.position, "is not there") for subject, seen in wanted.items()}
    state = await source.state()
    async for page in source.pages(0, state.last):
        for record in page:
            seen = wanted.get(record.subject)
            if _is_right(record, seen, last):
                wrong.pop(record.subject, None)
            elif seen is None:
                wrong[record.subject] = (_source_position(record), "the log has no such tag")
            else:
                wrong[record.subject] = (seen.position, "is not the last event of the tag")
    return wrong


def _is_right(record: Record, seen: TagSeen | None, last: int) -> bool:
    """Return whether it is the tag's last event, or one that came after what was checked."""
    return _source_position(record) > last or (seen is not None and body_digest(record.body) == seen.digest)


def _source_position(record: Record) -> int:
    """Return the position in the log of a message that the server took from there."""
    told = record.headers.get("Nats-Stream-Source", "").split()
    return int(told[1]) if len(told) > 1 and told[1].isdigit() else 0
