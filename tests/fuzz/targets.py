"""What is fuzzed: each target takes any bytes, and raises where something is neither read nor refused in words.

The properties of `tests/property/test_fuzz.py` and the coverage-guided `python -m tests.fuzz` share them.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tagstack.adapters.backup_files import record_of
from tagstack.adapters.duckdb_batch import sift
from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.nats_intake import read_request
from tagstack.adapters.nats_log import decode, encode
from tagstack.adapters.nats_subjects import COMMANDS, NO_IMAGE_STREAM, addressee, token
from tagstack.application.folding import Folding
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.image_commands import IMAGE_COMMANDS
from tagstack.application.ports import Request
from tagstack.application.read_models import LogMessage
from tagstack.application.records import Record
from tagstack.application.replies import failure
from tagstack.application.verification import Findings, Verification
from tagstack.apps import verify
from tagstack.cli.documents import read_documents
from tagstack.cli.failures import UsageError
from tagstack.cli.references import image_of, moment, tag_name
from tagstack.domain.errors import BadRequest, Refused, TagstackError, UnreadableEvent
from tagstack.domain.events import ImageStreamEvent, TagEvent
from tagstack.domain.image_stream import load
from tagstack.domain.names import ImageStreamName, image_stream_faults, namespace_faults
from tagstack.domain.pull_spec import parse
from tagstack.domain.wire import read_command
from tests.memory_log import MemoryLog

LOG = Path(__file__).parent.parent / "golden" / "log" / "v1.jsonl"
PAST_SHORT = 3  # an image, and a tag that points at it
PAST_LONG = 24  # until tags were rolled back, held, deleted and promoted
NOW = "2026-12-01T00:00:00.000000Z"
STATUS_BYTES_MAX = 1024 * 1024
HEADERS = ("Tagstack-Command-Id", "Nats-Msg-Id", "Tagstack-Reason", "Tagstack-Sent", "Tagstack-Create")


def check_status(error: TagstackError) -> None:
    """Check that an error makes a Status with a reason, a code and words, of a bounded size."""
    status = failure(error)
    assert status["kind"] == "Status" and status["status"] == "Failure"
    assert status["reason"] and status["message"]
    assert 400 <= status["code"] < 600
    assert len(msgspec.json.encode(status)) <= STATUS_BYTES_MAX


def check_command(body: bytes) -> None:
    """Read a body: a command that says the same when it is written and read again, or a Status."""
    try:
        command = read_command(body)
    except Refused as error:
        check_status(error)
        return
    again = msgspec.json.encode(command)
    assert msgspec.json.encode(msgspec.json.decode(again, type=type(command))) == again


def check_event(body: bytes) -> None:
    """Read a stored message: an event that can be written again and folded, or unreadable; all readers agree."""
    sifted = sift([LogMessage(1, "subject", body)])
    try:
        event = decode(1, body)
    except UnreadableEvent as error:
        assert "position 1" in str(error)
        assert [letter.position for letter in sifted.dead] == [1]
        return
    assert [message.position for message in sifted.events] == [1]
    assert decode(1, encode(event)) == event
    if isinstance(event, TagEvent | ImageStreamEvent):
        load(ImageStreamName(event.namespace, event.image_stream), [(1, event)])


class _Rows:
    """Takes folded rows, to see them made."""

    def add(self, relation: str, row: dict[str, Any]) -> None:
        """Take one row."""
        assert relation and row


class _Once:
    """Takes keys that may come once; whether they do is no matter of one event."""

    def add(self, key: str, position: int) -> None:
        """Take one key."""
        assert key.encode() and position

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Return none."""
        return iter(())


def check_verify(body: bytes) -> None:
    """Verify and fold a stored message in Python, behind a log that is right: only that one is complained of."""
    past = _past(PAST_SHORT)
    record = Record(len(past) + 1, past[-1].stored, past[-1].subject, past[-1].headers, body)
    findings = Findings()
    verification, folding = Verification(findings, verify.address, _Once()), Folding(_Rows())
    for each in [*past, record]:
        folding.see(each, verification.see(each))
    verification.end()
    folding.end()
    assert {complaint.position for complaint in findings.kept} <= {record.position}


@lru_cache
def _past(length: int) -> list[Record]:
    """Return the beginning of the golden log."""
    with LOG.open("rb") as log:
        return [record_of(line) for line in itertools.islice(log, length)]


@lru_cache(1)
def _models() -> ReadModelFile:
    return ReadModelFile(Path(":memory:"), discover([builtin_folder()]))


def check_fold(body: bytes) -> None:
    """Fold a stored message: rows or a dead letter, and on to the next position."""
    models = _models()
    position = models.checkpoint.position + 1
    models.fold([LogMessage(position, "subject", body)], "log")
    assert models.checkpoint.position == position


def check_stored(body: bytes) -> None:
    """Carry a command out on a log with a past: whatever it stores are rows to the read models, and no dead letters."""
    try:
        command = read_command(body)
    except Refused:
        return
    name, namespace = re.split("[:@]", command.metadata.name)[0], command.metadata.namespace or "prod"
    target = NO_IMAGE_STREAM if isinstance(command, IMAGE_COMMANDS) else ImageStreamName(namespace, name)
    log, past = MemoryLog(), _past(PAST_LONG)
    log.put(*(decode(record.position, record.body) for record in past))
    handler = CommandHandler(log, Surroundings(lambda: NOW, lambda: "uid", Grants()))
    with suppress(TagstackError):
        asyncio.run(handler.handle(Request("me", target, body, "id")))
    for _, event in log.stored[len(past) :]:
        before = _models().dead_letters
        check_fold(encode(event))
        assert _models().dead_letters == before, encode(event)


def check_subject(subject: str) -> None:
    """Read a subject: valid names, whose only spelling leads back to it, or a Status."""
    try:
        request = read_request(COMMANDS, subject, None, b"")
    except BadRequest as error:
        check_status(error)
        return
    target = request.target
    assert (target.namespace, target.name) == ("_", "_") or not [
        *namespace_faults(target.namespace, "namespace"),
        *image_stream_faults(target.name, "name"),
    ]
    assert addressee(subject, COMMANDS) == (request.actor, target)
    assert subject == ".".join([COMMANDS, token(request.actor), token(target.namespace), token(target.name)])


def check_headers(headers: dict[str, str]) -> None:
    """Read headers: each value within its bounds, or a Status."""
    try:
        request = read_request(COMMANDS, f"{COMMANDS}.me.prod.api", headers, b"")
    except BadRequest as error:
        check_status(error)
        return
    assert len(request.command_id) <= 512 and request.command_id
    assert request.sent == "" or "2000" < request.sent < "9000"


def check_name(text: str) -> None:
    """Read a pull spec, a tag and a time as typed: each is read alike when it is printed, or told to be none."""
    try:
        parsed = parse(text)
    except (Refused, ValueError):
        pass
    else:
        assert parse(str(parsed)) == parsed
    for read in (lambda: tag_name(text, "default"), lambda: moment(text), lambda: image_of(text)):
        try:
            read()
        except UsageError as error:
            assert str(error)


def check_file(body: bytes) -> None:
    """Read a file, YAML or JSON: a list of objects, or unreadable input in words."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(body)
        try:
            documents = read_documents(str(path))
        except UsageError as error:
            assert str(error)
            return
    assert documents and all(isinstance(document, dict) for document in documents)


def _text(data: bytes) -> str:
    return data.decode(errors="ignore")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "command": check_command,
    "stored": check_stored,
    "event": check_event,
    "fold": check_fold,
    "verify": check_verify,
    "subject": lambda data: check_subject(f"{COMMANDS}.{_text(data)}"),
    "headers": lambda data: check_headers(dict(zip(HEADERS, _text(data).split("\n"), strict=False))),
    "name": lambda data: check_name(_text(data)),
    "file": check_file,
}
