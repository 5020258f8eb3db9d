"""The documents that other programs rely on: JSON Schemas, AsyncAPI, and stored events of every version."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tagstack.adapters.nats_log import decode
from tagstack.apps import schemas
from tagstack.domain.image_stream import load
from tagstack.domain.names import ImageStreamName

TESTS = Path(__file__).parent.parent
DOCUMENTS = TESTS.parent / "docs" / "schemas"
GOLDEN = sorted((TESTS / "golden" / "events").glob("v*/*.json"))


def test_the_written_documents_are_those_of_the_code() -> None:
    """Who changes a command or an event renews docs/schemas with `python -m tagstack.apps.schemas docs/schemas`."""
    wanted = {**schemas.schemas(), "asyncapi": schemas.asyncapi()}
    assert {name: schemas.rendered(document) for name, document in wanted.items()} == {
        str(path.relative_to(DOCUMENTS).with_suffix("")): path.read_bytes() for path in DOCUMENTS.rglob("*.json")
    }


def test_there_is_a_stored_example_of_every_event() -> None:
    """An event type without a stored example could change without anyone noticing."""
    assert {path.stem for path in GOLDEN} == {path.stem for path in (DOCUMENTS / "events").glob("*.json")}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_event_stored_by_any_version_can_still_be_read(path: Path) -> None:
    """Stored events decode for ever, keep to today's schema, and can be folded.

    Seen to fail when `image_signed` demands a field that it did not have.
    """
    body = path.read_bytes()
    event = decode(1, body)
    jsonschema.validate(json.loads(body), json.loads((DOCUMENTS / "events" / f"{path.stem}.json").read_bytes()))
    load(ImageStreamName("test", "origin-ruby-sample"), [(1, event)])
