"""Read models that are not what the log says are told of, row by row."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import duckdb
import pytest
from nats.aio.client import Client

from tagstack.adapters.duckdb_compare import Comparison
from tagstack.adapters.duckdb_once import Once
from tagstack.adapters.nats_append import Appender, Message
from tagstack.adapters.nats_streams import EVENTS_STREAM, stream_info
from tagstack.adapters.nats_transport import PlainTransport
from tagstack.application.folding import RELATIONS
from tagstack.application.verification import Complaint, Findings, Verification
from tagstack.apps import verify
from tests.logs import about, ask, connected, do_everything, everything, mapping, service, shown, tagging, worker

PROJECTIONS = Path(__file__).parents[2] / "projections"
SAMPLES = Path(__file__).parents[1] / "samples"
# metadata may be any JSON
ODD = {
    "Architecture": 7,
    "Os": {"name": "linux"},
    "Created": "2020-02-30T00:00:00Z",
    "Size": "12",
    "Config": {"Env": "A=1", "Cmd": [1, None, "b"], "Labels": {"b": 1, "a": "\u001f\u00e9/"}, "Entrypoint": None},
}
BREAKS = {
    "a tag elsewhere": ("current_tags", "UPDATE current_tags SET image = 'sha256:0' WHERE tag = 'now'"),
    "a lost tag": ("current_tags", "DELETE FROM current_tags WHERE tag = 'now'"),
    "a lost entry": ("tag_history", "DELETE FROM tag_changes WHERE position = 5"),
    "another actor": ("tag_history", "UPDATE tag_changes SET actor = 'eve' WHERE position = 5"),
    "an entry that ended before": ("tag_history", "UPDATE tag_changes SET time = time - INTERVAL 1 DAY"),
    "a lost event": ("events", "DELETE FROM events WHERE position = 5"),
    "a forged event": ("events", "UPDATE events SET data = '{}' WHERE position = 5"),
    "another label": ("image_streams", "UPDATE image_streams SET labels = MAP {'team': 'b'}"),
    "a living image stream": ("image_streams", "UPDATE image_streams SET deleted = created"),
    "a lost image": ("images", "DELETE FROM images WHERE position = 1"),
    "another architecture": ("images", "UPDATE images SET architecture = 's390x' WHERE position = 1"),
    "another config": ("images", "UPDATE images SET config = '{}' WHERE config IS NOT NULL"),
    "another environment": ("images", "UPDATE images SET env = ['A=2']"),
    "a layer twice": ("image_layers", "INSERT INTO image_layers FROM image_layers LIMIT 1"),
    "a larger layer": ("image_layers", "UPDATE image_layers SET size = size + 1 WHERE ordinal = 1"),
    "another child": ("image_manifests", "UPDATE image_manifests SET os = 'plan9'"),
    "an earlier hold": ("holds", "UPDATE tag_changes SET held_since = held_since - INTERVAL 1 HOUR"),
    "another holder": ("holds", "UPDATE tag_changes SET held_by = 'eve' WHERE held_by IS NOT NULL"),
    "no rollback": ("rollbacks", "UPDATE tag_changes SET image = 'x' || position WHERE is_entry"),
    "a later day": ("churn_per_day", "UPDATE tag_changes SET time = time + INTERVAL 1 DAY"),
    "a later arrival": ("tag_lead_time", "UPDATE tag_changes SET since = since + INTERVAL 1 SECOND WHERE tag = 'now'"),
    "a past that was not": ("tags_as_of", "UPDATE tag_changes SET pull_spec = 'p'"),
    "another stack": ("tag_stack", "UPDATE tag_changes SET reason = 'because' WHERE position = 5"),
    "another use": ("where_used", "UPDATE tag_changes SET tag = 'then' WHERE tag = 'now'"),
    "another change": ("tag_changes", "UPDATE tag_changes SET is_entry = NOT is_entry WHERE position = 5"),
    "another number": ("tag_moves", "UPDATE tag_moves SET moves = moves + 1"),
    "no dead letter": ("dead_letters", "DELETE FROM dead_letters"),
    "another position": ("checkpoint", "UPDATE checkpoint SET event_id = 'other'"),
    "a lost relation": ("churn_per_day", "DROP VIEW churn_per_day"),
}


async def filled(url: str, home: Path) -> Path:
    """Fill a log with events of every type, and return the snapshot that shows them all."""
    async with service(url, home) as client:
        await do_everything_and_more(client)
        return await shown(client, home / "live" / "tagstack.duckdb")


async def do_everything_and_more(client: Client) -> None:
    """Fill a log with images of every shape, a tag that is deleted twice, and a message that is no event, too."""
    await do_everything(client)
    await ask(client, "test.twice", mapping("twice", 8))
    external = tagging("twice:latest", "DockerImage", "quay.example/some/image:a")
    for command in (about("DeleteImageStreamTag", "twice:latest"), external):
        await ask(client, "test.twice", command)
    await ask(client, "test.twice", about("DeleteImageStreamTag", "twice:latest"))
    for name in ("oci", "index"):
        sent = json.loads((SAMPLES / f"imagestreammapping-{name}.json").read_text())
        await ask(client, f"test.{sent['metadata']['name']}", sent)
    odd = mapping("odd", 7)
    odd["image"]["dockerImageMetadata"] = ODD
    await ask(client, "test.odd", odd)
    for number, created in enumerate(("2016-01-01T01:00:00.5+02:00", "2016-01-01T00:00:00", "2016-01-01"), 70):
        dated = mapping(f"dated{number}", number)
        dated["image"]["dockerImageMetadata"] = {"Created": created}
        await ask(client, f"test.dated{number}", dated)
    appender = await Appender(PlainTransport(client)).start()
    await appender.append(Message("tagstack.events.prod.strange.stream", b"\xffnonsense", {}))


async def complaints(url: str, snapshot: Path) -> list[Complaint]:
    """Verify a log and a snapshot."""
    async with worker(url) as client:
        verifier = verify.Verifier()
        await verifier.log(client, snapshot)
        return verifier.report().complaints


def test_read_models_of_every_kind_of_event_are_clean(nats_url: str, tmp_path: Path) -> None:
    """The SQL read models equal Python's fold of the same log, in every relation that is compared.

    Seen to fail when `tag_history.deleted` is the first delete of a tag that was configured and deleted once more.
    """

    async def scenario() -> None:
        async with service(nats_url, tmp_path) as client:
            await do_everything_and_more(client)
            await ask(client, "prod.gone", about("DeleteImageStream", "gone"))
            await ask(client, "prod.app", mapping("app", 9, "stable"))
            verifier = verify.Verifier()
            await verifier.log(client, tmp_path / "live" / "tagstack.duckdb")
            report = verifier.report()
            assert [told.check for told in report.complaints] == ["readable"]
            counts = {checked.what: checked.count for checked in report.checked}
            folders = {path.parent.name for path in PROJECTIONS.glob("*/views.sql")}
            assert folders <= set(RELATIONS)
            assert all(counts[f"rows of {name}"] > 0 for name in RELATIONS)

    asyncio.run(scenario())


def test_read_models_that_differ_are_named(nats_url: str, tmp_path: Path) -> None:
    """Whatever is changed in a snapshot by hand is found, in the relation where it shows.

    Seen to fail when `Comparison._between` looks for missing rows only, and when `_digest` leaves columns out.
    """
    snapshot = asyncio.run(filled(nats_url, tmp_path / "home"))
    with Comparison(snapshot) as comparison:
        asyncio.run(fold(nats_url, comparison))
        assert [told for name in RELATIONS for told in comparison.differences(name)] == []
        for number, (relation, change) in enumerate(BREAKS.values()):
            broken = tmp_path / f"broken-{number}.duckdb"
            copied(snapshot, broken)
            with duckdb.connect(str(broken)) as con:
                con.execute(change)
            comparison.look_at(broken)
            assert list(comparison.differences(relation)), change
    assert {relation for relation, _ in BREAKS.values()} == set(RELATIONS)


def test_a_number_that_no_column_takes_is_named(nats_url: str, tmp_path: Path) -> None:
    """An event with a number that only Python can hold is told of; the read models and their fold leave it out alike.

    Seen to fail when `reading.read_event` does not check values: `verify` ended at it.
    """

    async def scenario() -> list[Complaint]:
        async with service(nats_url, tmp_path) as client:
            await ask(client, "prod.app", mapping("app", 1))
            last = (await everything(client))[-1]
            body = json.dumps(json.loads(last.body) | {"generation": 2**64, "cause": "other"}).encode()
            appender = await Appender(PlainTransport(client)).start()
            await appender.append(Message(last.subject, body, last.own_headers))
            return await complaints(nats_url, await shown(client, tmp_path / "live" / "tagstack.duckdb"))

    told = {(complaint.check, complaint.position) for complaint in asyncio.run(scenario())}
    assert ("readable", 4) in told and "read models" not in {check for check, _ in told}


async def fold(url: str, comparison: Comparison) -> None:
    """Fold a log for a comparison."""
    async with connected(url) as client:
        info = await stream_info(client, EVENTS_STREAM)
        folded = verify.Fold(comparison, info["created"])
        verification = Verification(Findings(), verify.address, Once())
        for record in await everything(client):
            folded.see(record, verification.see(record))
        folded.end()


def test_the_position_of_a_row_that_differs_is_named(nats_url: str, tmp_path: Path) -> None:
    """A lost row is told of with the position of the event that made it; a relation of a user's own is no fault."""
    snapshot = asyncio.run(filled(nats_url, tmp_path / "home"))
    copied(snapshot, broken := tmp_path / "broken.duckdb")
    with duckdb.connect(str(broken)) as con:
        con.execute("DELETE FROM events WHERE position = 5; CREATE VIEW my_own AS SELECT 1")
    with Comparison(broken) as comparison:
        assert comparison.others(RELATIONS) == ["my_own"]
    (found,) = (told for told in asyncio.run(complaints(nats_url, broken)) if told.check == "read models")
    assert found.position == 5
    assert found.detail.startswith("events misses the row position=5")


def test_read_models_that_stand_still_are_told_of(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that does not reach the log's end is a complaint, and is compared as far as it goes."""
    monkeypatch.setattr(verify, "SNAPSHOT_WAIT_S", 0.3)
    snapshot = asyncio.run(filled(nats_url, tmp_path / "home"))

    async def scenario() -> list[Complaint]:
        async with worker(nats_url) as client:
            await ask(client, "prod.app", mapping("app", 3))
        return await complaints(nats_url, snapshot)

    assert {told.check for told in asyncio.run(scenario())} == {"readable", "lag"}


def copied(snapshot: Path, to: Path) -> None:
    """Copy a snapshot and what lies beside it."""
    for path in snapshot.parent.glob(f"{snapshot.name}*"):
        shutil.copy(path, to.with_name(to.name + path.name.removeprefix(snapshot.name)))
