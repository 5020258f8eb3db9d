"""Whatever is thrown at the intakes is read, or refused in words; nothing crashes them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagstack.adapters.nats_subjects import COMMANDS, token
from tagstack.domain.wire import KINDS
from tests.fuzz.inputs import inputs
from tests.fuzz.targets import HEADERS, TARGETS, check_command, check_file, check_headers, check_name, check_subject
from tests.property.commands import stories

FUZZ = settings(max_examples=300, deadline=None)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
)
FIELDS = ("kind", "apiVersion", "metadata", "image", "tag", "spec", "to", "from", "hold", "force", "dryRun", "reason")
objects = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), values, max_size=6)
spelt = st.sampled_from(["a", "%61", "a-b", "a%2Db", "a%2Eb", "a%2eb", "_", "%5F", "%C3%A9", "%FF", "%"])
times = st.datetimes().map(datetime.isoformat)
names = st.text(max_size=80) | spelt


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"kind":' * 20_000)
@example(b'{"kind":"ImageStream","metadata":{"name":"\\ud800"}}')
@example(b"1e999")
def test_a_body_of_any_bytes_is_read_or_refused(body: bytes) -> None:
    """Bytes that are no command are a Status.

    Seen to fail when `nesting.UNREADABLE` does not count RecursionError in.
    """
    check_command(body)


@FUZZ
@given(st.sampled_from(sorted(KINDS)), objects)
def test_an_object_of_any_fields_is_read_or_refused(kind: str, body: dict[str, Any]) -> None:
    """Known kinds with unheard-of fields and values are a command or a Status."""
    check_command(msgspec.json.encode(body | {"kind": kind}))


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
        check_command(msgspec.json.encode(spoilt))


@FUZZ
@given(names, names, names)
def test_a_subject_names_one_thing_or_is_refused(actor: str, namespace: str, name: str) -> None:
    """What the intake accepts are valid names, and their only spelling leads back to the same subject.

    Seen to fail when `nats_subjects.name_of` takes any spelling.
    """
    raw = f"{COMMANDS}.{actor}.{namespace}.{name}"
    for subject in (raw, ".".join([COMMANDS, *(token(part) if part else "" for part in (actor, namespace, name))])):
        check_subject(subject)


@FUZZ
@given(st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=600) | times, max_size=5))
@example({"Tagstack-Sent": "0001-01-01T00:00:00+23:59"})
@example({"Tagstack-Sent": "9999-12-31T23:59:59-23:59"})
def test_headers_are_read_or_refused(headers: dict[str, str]) -> None:
    """Every header's value is taken within its bounds, or the request is a Status.

    Seen to fail when `nats_intake._sent` takes any year.
    """
    check_headers(headers)


@FUZZ
@given(st.text(max_size=120))
def test_a_name_is_read_or_refused(text: str) -> None:
    """A pull spec, tag, image or time is read, or told to be none; what was read is read alike when it is printed."""
    check_name(text)


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
    """YAML or JSON of any kind is a list of objects, or unreadable input in words.

    Seen to fail when `read_documents` catches no RecursionError.
    """
    check_file(body)


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_starts_from_and_has_found_is_read_or_refused(target: str) -> None:
    """Good inputs, and those that once broke a target of `python -m tests.fuzz`: none breaks it now.

    Seen to fail when `reading.read_event` lets bytes be that are no UTF-8 where no field takes them.
    """
    for data in inputs(target):
        TARGETS[target](data)
