"""Whatever is thrown at the intakes is read, or refused in words; nothing crashes them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagstack.adapters.nats_intake import read_request
from tagstack.adapters.nats_subjects import COMMANDS, addressee, token
from tagstack.application.replies import failure
from tagstack.cli.documents import read_documents
from tagstack.cli.failures import UsageError
from tagstack.domain.errors import BadRequest, Refused, TagstackError
from tagstack.domain.names import image_stream_faults, namespace_faults
from tagstack.domain.pull_spec import parse
from tagstack.domain.wire import KINDS, read_command
from tests.property.commands import stories

FUZZ = settings(max_examples=300, deadline=None)
STATUS_BYTES_MAX = 1024 * 1024

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)
FIELDS = ("kind", "apiVersion", "metadata", "image", "tag", "spec", "to", "from", "hold", "force", "dryRun", "reason")
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), values, max_size=6)
names = st.text(max_size=80)


def check_status(error: TagstackError) -> None:
    """Check that an error makes a Status with a reason, a code and words, of a bounded size."""
    status = failure(error)
    assert status["kind"] == "Status" and status["status"] == "Failure"
    assert status["reason"] and status["message"]
    assert 400 <= status["code"] < 600
    assert len(msgspec.json.encode(status)) <= STATUS_BYTES_MAX


def read(body: bytes) -> None:
    """Read a body: a command that says the same when it is written and read again, or a Status."""
    try:
        command = read_command(body)
    except Refused as error:
        check_status(error)
        return
    again = msgspec.json.encode(command)
    assert msgspec.json.encode(msgspec.json.decode(again, type=type(command))) == again


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"kind":' * 20_000)
@example(b'{"kind":"ImageStream","metadata":{"name":"\\ud800"}}')
@example(b"1e999")
def test_a_body_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    """Bytes that are no command are a Status."""
    read(body)


@FUZZ
@given(st.sampled_from(sorted(KINDS)), objects)
def test_an_object_of_any_fields_is_read_or_refused(kind: str, body: dict[str, Any]) -> None:
    """Known kinds with unheard-of fields and values are a command or a Status."""
    read(msgspec.json.encode(body | {"kind": kind}))


@FUZZ
@given(stories, st.data())
def test_a_command_with_one_field_changed_is_read_or_refused(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    """A good command, spoilt at one place at any depth, is a command or a Status."""
    for body in bodies[:3]:
        spoilt = json.loads(json.dumps(body))
        place = spoilt
        while True:
            key = data.draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(values)
        read(msgspec.json.encode(spoilt))


@FUZZ
@given(names, names, names)
def test_a_subject_names_one_thing_or_is_refused(actor: str, namespace: str, name: str) -> None:
    """What the intake accepts are valid names, and their only spelling leads back to the same subject."""
    raw = f"{COMMANDS}.{actor}.{namespace}.{name}"
    for subject in (raw, ".".join([COMMANDS, *(token(part) if part else "" for part in (actor, namespace, name))])):
        try:
            request = read_request(COMMANDS, subject, None, b"")
        except BadRequest as error:
            check_status(error)
            continue
        target = request.target
        assert (target.namespace, target.name) == ("_", "_") or not [
            *namespace_faults(target.namespace, "namespace"),
            *image_stream_faults(target.name, "name"),
        ]
        assert addressee(subject, COMMANDS) == (request.actor, target)
        assert subject == ".".join([COMMANDS, token(request.actor), token(target.namespace), token(target.name)])


HEADERS = ("Tagstack-Command-Id", "Nats-Msg-Id", "Tagstack-Reason", "Tagstack-Sent", "Tagstack-Create")


@FUZZ
@given(st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=600), max_size=5))
@example({"Tagstack-Sent": "0001-01-01T00:00:00+23:59"})
@example({"Tagstack-Sent": "9999-12-31T23:59:59-23:59"})
def test_headers_are_read_or_refused(headers: dict[str, str]) -> None:
    """Every header's value is taken within its bounds, or the request is a Status."""
    try:
        request = read_request(COMMANDS, f"{COMMANDS}.me.prod.api", headers, b"")
    except BadRequest as error:
        check_status(error)
        return
    assert len(request.command_id) <= 512 and request.command_id
    assert request.sent == "" or "2000" < request.sent < "9000"


@FUZZ
@given(st.text(max_size=120))
def test_a_pull_spec_is_parsed_or_refused(text: str) -> None:
    """A pull spec is parsed, or told to be none; what was parsed is parsed alike when it is printed."""
    try:
        parsed = parse(text)
    except (Refused, ValueError):
        return
    assert parse(str(parsed)) == parsed


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | objects.map(yaml.safe_dump).map(str.encode))
@example(b"a: &a [*a]")
@example(b"- " * 10_000)
@example(b"[" * 10_000)
@example(b"{" * 10_000)
@example(b"? [1]\n: 2\n")
@example(b"!!python/object/apply:os.system ['true']")
@example(b"a: 2001-02-30\n")
def test_a_file_is_read_or_refused(body: bytes) -> None:
    """YAML or JSON of any kind is a list of objects, or unreadable input in words."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(body)
        try:
            documents = read_documents(str(path))
        except UsageError as error:
            assert str(error)
            return
    assert documents and all(isinstance(document, dict) for document in documents)
