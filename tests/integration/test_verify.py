"""Verification: a log that breaks a rule is told of, by the rule and by the position of the event that breaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from tagstack.adapters.duckdb_once import Once
from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_streams import TAGS_STREAM, declarations, jetstream
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.records import Record
from tagstack.application.verification import Complaint, Findings, Verification
from tagstack.apps import verify
from tagstack.apps.backup import back_up
from tests.logs import Json, about, ask, digest, do_everything, everything, mapping, worker

EARLIER = "2001-01-01T00:00:00.000000Z"
LATER = "2999-01-01T00:00:00.000000Z"
Change = Callable[[Json], None]


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for TAGSTACK_TAGS where it will never be right."""
    monkeypatch.setattr(verify, "TAGS_WAIT_S", 0.3)


async def verified(client: Client) -> verify.Report:
    """Verify the log of a server."""
    verifier = verify.Verifier()
    await verifier.log(client)
    return verifier.report()


def test_a_log_made_by_commands_is_clean(nats_url: str, tmp_path: Path) -> None:
    """After commands of every kind there is nothing to complain of, in the log or in a backup of it."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await do_everything(client)
            done = await back_up(client, tmp_path)
            verifier = verify.Verifier()
            await verifier.log(client)
            verifier.backup(tmp_path)
            report = verifier.report()
            assert report.complaints == []
            assert report.position == done.position
            counts = {checked.what: checked.count for checked in report.checked}
            assert counts["events of the log"] == counts["events of the backup"] == done.messages
            assert counts["last events of tags (TAGSTACK_TAGS)"] == 6

    asyncio.run(scenario())


def next_move(last: Json) -> Json:
    """Return the event of a further move of a tag, by nobody's command."""
    head = {key: last["head"][key] for key in ("pullSpec", "generation")}
    told = {"time": LATER, "actor": "hand", "cause": "by-hand", "reason": "", "origin": "mapping"}
    head |= {"image": digest(9), "since": LATER, "actor": "hand", "cause": "by-hand", "origin": "mapping"}
    moved = {"image": digest(9), "previousImage": last["image"], "head": head, "type": "image_tagged"}
    return last | told | moved | {"number": 1, "last": True, "causedBy": None, "hold": None}


def changed(**fields: object) -> Change:
    """Return a change of some fields; a name with two underscores is a field of a part."""

    def change(event: Json) -> None:
        for name, value in fields.items():
            *parts, field = name.split("__")
            place = event
            for part in parts:
                place = place[part]
            place[field] = value

    return change


async def store(client: Client, event: Json, like: Record, **headers: str) -> None:
    """Store an event by hand, under the subject of another one."""
    identity = f"prod/app/{event['cause']}/{event['number']}"
    told = {"ce-id": identity, "ce-type": f"dev.tagstack.{event['type']}", "ce-time": event["time"]} | headers
    appender = await Appender(PlainTransport(client)).start()
    await appender.append(Message(like.subject, json.dumps(event).encode(), told))


async def complaints_after(url: str, change: Change, command: Json | None = None, **headers: str) -> list[Complaint]:
    """Store one more move of a tag, with something changed, and return what verification says."""
    async with worker(url) as client:
        await ask(client, "prod.app", mapping("app", 1))
        await ask(client, "prod.app", mapping("app", 2), **{"Tagstack-Command-Id": "second"})
        if command is not None:
            await ask(client, "prod.app", command)
        last = (await everything(client))[-1]
        event = next_move(json.loads(last.body))
        change(event)
        await store(client, event, last, **headers)
        report = await verified(client)
    found = [complaint for complaint in report.complaints if complaint.check != "tags"]
    assert {complaint.position for complaint in found} <= {last.position + 1}, found
    return found


BREAKS: dict[str, tuple[str, Change, str]] = {
    "another subject": ("subject", changed(tag="other", previousImage=None), "belongs under"),
    "a cause to come": ("reference", changed(causedBy=1_000_000), "causedBy is 1000000"),
    "restores what is to come": ("reference", changed(head__restores=1_000_000), "head.restores is 1000000"),
    "a number too high": ("command", changed(number=2), "begins with number 2"),
    "no last event": ("command", changed(last=False), "has no last event"),
    "a command again": ("once", changed(cause="second", head__cause="second"), "at position 5 already"),
    "an earlier time": ("time", changed(time=EARLIER, head__since=EARLIER), "is before"),
    "another uid": ("identity", changed(uid="other"), "uid is 'other'"),
    "a lower generation": ("generation", changed(generation=0, head__generation=0), "falls from 1 to 0"),
    "a generation for a push": ("generation", changed(generation=2), "rises from 1 to 2 though no spec changes"),
    "a leap of generations": ("generation", changed(generation=3), "rises from 1 to 3"),
    "a head from the future": ("generation", changed(head__generation=7), "head.generation 7"),
    "another previous image": ("chain", changed(previousImage=digest(7)), "the event before it left"),
    "a forgotten previous image": ("chain", changed(previousImage=None), "previousImage is None"),
    "an image beside the head": ("head", changed(image=digest(7)), "the head's are"),
    "a head made elsewhere": ("head", changed(head__position=3), "head.position is 3"),
    "a head by somebody else": ("head", changed(head__actor="other"), "are not the event's"),
    "a move without a head": ("head", changed(image=None, pullSpec=None, head=None), "without a head"),
    "a release of what is free": (
        "hold",
        lambda event: event.update(type="tag_released"),
        "tag_released of a tag that is not held",
    ),
    "a stay that moves": ("head", lambda event: event.update(type="tag_configured"), "changes what the tag points at"),
}


@pytest.mark.parametrize(("check", "change", "told"), BREAKS.values(), ids=BREAKS.keys())
def test_an_event_that_breaks_a_rule_is_named(nats_url: str, check: str, change: Change, told: str) -> None:
    """The complaint has the event's position, the check and what is wrong.

    Seen to fail when `Verification._broken` complains of nothing.
    """
    found = asyncio.run(complaints_after(nats_url, change))
    assert any(complaint.check == check and told in complaint.detail for complaint in found), found


def test_the_event_that_is_broken_nowhere_is_clean(nats_url: str) -> None:
    """The event that the other tests break is right as it is."""
    assert asyncio.run(complaints_after(nats_url, changed())) == []


def test_a_push_that_moves_a_held_tag_is_named(nats_url: str) -> None:
    """Only a rollback or a release moves what is held."""
    found = asyncio.run(complaints_after(nats_url, changed(), about("HoldTag", "app:latest")))
    assert [(complaint.check, complaint.detail) for complaint in found] == [
        ("hold", "a held tag is moved by origin 'mapping'")
    ]


def test_headers_that_tell_something_else_are_named(nats_url: str) -> None:
    """The CloudEvents headers say what the body says."""
    found = asyncio.run(complaints_after(nats_url, changed(), **{"ce-type": "dev.tagstack.tag_deleted"}))
    assert [(complaint.check, complaint.detail) for complaint in found] == [
        ("headers", "ce-type is 'dev.tagstack.tag_deleted', must be 'dev.tagstack.image_tagged'")
    ]


@pytest.mark.parametrize("body", [b"nonsense", b"", b'{"type":"image_tagged"}', b'{"type":"no_such"}', b"\xff"])
def test_what_is_no_event_is_named(nats_url: str, body: bytes) -> None:
    """A message that can't be decoded is one complaint, and the events after it are checked all the same."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            appender = await Appender(PlainTransport(client)).start()
            await appender.append(Message("tagstack.events.prod.strange.stream", body, {}))
            await ask(client, "prod.app", mapping("app", 2))
            report = await verified(client)
            assert [(found.position, found.check) for found in report.complaints] == [(4, "readable")]

    asyncio.run(scenario())


def test_a_second_creation_is_named(nats_url: str) -> None:
    """An image stream that exists can't be created."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            created = next(record for record in await everything(client) if record.subject.endswith(".stream"))
            event = json.loads(created.body) | {"cause": "by-hand", "time": LATER, "created": LATER, "last": True}
            await store(client, event, created)
            told = {(found.position, found.check) for found in (await verified(client)).complaints}
            assert told == {(4, "identity")}

    asyncio.run(scenario())


def test_a_command_cut_by_another_is_named(nats_url: str) -> None:
    """The events of a command stand together, nothing of the image stream between them."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            last = (await everything(client))[-1]
            event = next_move(json.loads(last.body)) | {"last": False}
            await store(client, event, last)
            await ask(client, "prod.app", mapping("app", 2))
            found = (await verified(client)).complaints
            assert [(complaint.position, complaint.check) for complaint in found] == [(6, "command")]
            assert "begins before 'by-hand' said its last" in found[0].detail

    asyncio.run(scenario())


def test_a_missing_position_is_named(nats_url: str) -> None:
    """The log has an event at every position; a lost one is told of by the event after it."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await jetstream(client, "STREAM.DELETE.TAGSTACK_EVENTS")
            await jetstream(client, "STREAM.CREATE.TAGSTACK_EVENTS", declarations()[0] | {"deny_delete": False})
            await ask(client, "prod.app", mapping("app", 1))
            await ask(client, "prod.app", mapping("app", 2))
            await jetstream(client, "STREAM.MSG.DELETE.TAGSTACK_EVENTS", {"seq": 4})
            found = (await verified(client)).complaints
            assert [(complaint.position, complaint.check) for complaint in found] == [(5, "gap")]

    asyncio.run(scenario())


def test_a_tag_that_the_server_has_not_kept_is_named(nats_url: str) -> None:
    """TAGSTACK_TAGS has the last event of each tag, or the tag is told of with that event's position."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 1))
            assert (await verified(client)).complaints == []
            await jetstream(client, f"STREAM.MSG.DELETE.{TAGS_STREAM}", {"seq": 1})
            found = (await verified(client)).complaints
            assert found == [Complaint(3, "tags", "tagstack.tags.prod.app.latest: is not there")]

    asyncio.run(scenario())


def test_a_damaged_backup_is_named(nats_url: str, tmp_path: Path) -> None:
    """A segment that is not as it was written is told of by its name."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            await do_everything(client)
            await back_up(client, tmp_path)

    asyncio.run(scenario())
    (segment,) = tmp_path.glob("log-*")
    segment.write_bytes(segment.read_bytes()[:-1])
    verifier = verify.Verifier()
    verifier.backup(tmp_path)
    (found,) = verifier.report().complaints
    assert found.check == "backup"
    assert segment.name in found.detail


def test_an_unfinished_deletion_is_no_fault(nats_url: str) -> None:
    """The events of a deleted image stream's tags may come later: whoever loads it next stores them."""

    async def scenario() -> None:
        async with worker(nats_url) as client:
            for tag in ("a", "b"):
                await ask(client, "prod.app", mapping("app", 1, tag))
            await ask(client, "prod.app", about("DeleteImageStream", "app"))
            log = await everything(client)
            for cut, checks in {1: [], 2: ["command"], 3: [], 4: [], 5: [], 6: [], 7: []}.items():
                findings = Findings()
                verification = Verification(findings, verify.address, Once())
                for record in log[:cut]:
                    verification.see(record)
                verification.end()
                assert [complaint.check for complaint in findings.kept] == checks

    asyncio.run(scenario())
