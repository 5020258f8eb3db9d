"""Read models that are not what the log says are told of, row by row."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import duckdb
import pytest

from tagstack.application.verification import Complaint
from tagstack.apps import verify
from tests.logs import about, ask, do_everything, mapping, service, shown, worker

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
}


async def filled(url: str, home: Path) -> Path:
    """Fill a log with events of every type, and return the snapshot that shows them all."""
    async with service(url, home) as client:
        await do_everything(client)
        return await shown(client, home / "live" / "tagstack.duckdb")


async def complaints(url: str, snapshot: Path) -> list[Complaint]:
    """Verify a log and a snapshot."""
    async with worker(url) as client:
        verifier = verify.Verifier()
        await verifier.log(client, snapshot)
        return verifier.report().complaints


def test_read_models_of_every_kind_of_event_are_clean(nats_url: str, tmp_path: Path) -> None:
    """The SQL read models equal Python's fold of the same log, in every relation that is compared."""

    async def scenario() -> None:
        async with service(nats_url, tmp_path) as client:
            await do_everything(client)
            await ask(client, "prod.gone", about("DeleteImageStream", "gone"))
            await ask(client, "prod.app", mapping("app", 9, "stable"))
            verifier = verify.Verifier()
            await verifier.log(client, tmp_path / "live" / "tagstack.duckdb")
            report = verifier.report()
            assert report.complaints == []
            counts = {checked.what: checked.count for checked in report.checked}
            assert all(counts[f"rows of {name}"] > 0 for name in verify.relations())

    asyncio.run(scenario())


def test_read_models_that_differ_are_named(nats_url: str, tmp_path: Path) -> None:
    """Whatever is changed in a snapshot by hand is found, in the relation where it shows."""
    snapshot = asyncio.run(filled(nats_url, tmp_path / "home"))
    assert asyncio.run(complaints(nats_url, snapshot)) == []
    for number, (relation, change) in enumerate(BREAKS.values()):
        broken = tmp_path / f"broken-{number}.duckdb"
        copied(snapshot, broken)
        with duckdb.connect(str(broken)) as con:
            con.execute(change)
        found = asyncio.run(complaints(nats_url, broken))
        assert any(told.check == "read models" and told.detail.startswith(relation) for told in found), change


def test_the_position_of_a_row_that_differs_is_named(nats_url: str, tmp_path: Path) -> None:
    """A lost row is told of with the position of the event that made it."""
    snapshot = asyncio.run(filled(nats_url, tmp_path / "home"))
    copied(snapshot, broken := tmp_path / "broken.duckdb")
    with duckdb.connect(str(broken)) as con:
        con.execute("DELETE FROM events WHERE position = 5")
    (found,) = asyncio.run(complaints(nats_url, broken))
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

    (found,) = asyncio.run(scenario())
    assert found.check == "lag"


def copied(snapshot: Path, to: Path) -> None:
    """Copy a snapshot and what lies beside it."""
    for path in snapshot.parent.glob(f"{snapshot.name}*"):
        shutil.copy(path, to.with_name(to.name + path.name.removeprefix(snapshot.name)))
