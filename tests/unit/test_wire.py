"""Bodies: read, or refused with every fault and its path at once."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tagstack.domain.errors import VALUE_LENGTH_MAX, BadRequest, Invalid
from tagstack.domain.nesting import NESTING_MAX
from tagstack.domain.wire import KINDS, read_command
from tests.examples import alias, image_stream, mapping, on, tag_of


def fields(body: dict[str, Any]) -> list[str]:
    """Return the fields at fault."""
    with pytest.raises(Invalid) as refused:
        read_command(msgspec.json.encode(body))
    return [fault.field for fault in refused.value.faults]


def test_unknown_fields_of_metadata_and_image_are_ignored() -> None:
    """Registries send what servers had set."""
    body = mapping("latest", "a")
    body["metadata"] |= {"creationTimestamp": None, "managedFields": [{"manager": "x"}]}
    body["image"] |= {"whatever": 1}
    body["image"]["metadata"] |= {"selfLink": "/x"}
    assert read_command(msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (mapping("latest", "a", dockerImageRepository="x"), "dockerImageRepository"),
        (tag_of("a", alias("b"), form=1), "tag.form"),
        (image_stream({"a": {"from": alias("b"), "frm": {}}}), "spec.tags[a].frm"),
        (image_stream({"a": {"from": alias("b") | {"uid": "x"}}}), "spec.tags[a].from.uid"),
        (on("RollbackTag", "a", to={"step": 1}), "to.step"),
        (on("HoldTag", "a", reason="x"), "reason"),
    ],
)
def test_an_unknown_field_anywhere_else_is_invalid_at_its_path(body: dict[str, Any], at: str) -> None:
    """A typing error must not look like success."""
    assert fields(body) == [at]


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (mapping("latest", "a") | {"tag": 1}, "tag"),
        (mapping("latest", "a") | {"metadata": {"name": "app", "labels": {"a": 1}}}, "metadata.labels[a]"),
        (tag_of("a", alias("b"), reference="yes"), "tag.reference"),
        (tag_of("a", alias("b"), importPolicy=[]), "tag.importPolicy"),
        (on("RollbackTag", "a", to={"steps": "1"}), "to.steps"),
        (on("RollbackTag", "a", hold=1), "hold"),
        (on("HoldTag", "a", expectedPosition="7"), "expectedPosition"),
        (image_stream() | {"spec": {"tags": {}}}, "spec.tags"),
    ],
)
def test_a_value_of_the_wrong_type_is_invalid_at_its_path(body: dict[str, Any], at: str) -> None:
    """The message says what it must be."""
    assert fields(body) == [at]


def test_every_fault_is_told_at_once() -> None:
    """Unknown fields, wrong types and broken rules together, each once."""
    body = {
        "kind": "ImageStream",
        "metadata": {"name": "App"},
        "more": 1,
        "spec": {"lookupPolicy": {"local": "yes"}, "tags": [{"name": "a/b", "from": {"kind": "X", "name": ""}}]},
    }
    assert sorted(fields(body)) == [
        "metadata.name",
        "more",
        "spec.lookupPolicy.local",
        "spec.tags[a/b].from.kind",
        "spec.tags[a/b].from.name",
        "spec.tags[a/b].name",
    ]


def test_a_null_counts_as_a_field_that_is_not_there() -> None:
    """As in Kubernetes."""
    body = tag_of("a", alias("b"), importPolicy=None, referencePolicy=None, annotations=None, generation=None)
    assert read_command(msgspec.json.encode(body | {"dryRun": None}))


@pytest.mark.parametrize("kind", ["Nope", "", None, 1, ["ImageStream"], "imagestream"])
def test_an_unknown_kind_is_a_bad_request_that_names_the_known_ones(kind: Any) -> None:
    """Whoever mistyped it sees what there is."""
    with pytest.raises(BadRequest) as refused:
        read_command(msgspec.json.encode({"kind": kind, "metadata": {"name": "a"}}))
    assert all(known in str(refused.value) for known in KINDS)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b'{"kind": "HoldTag", "x": \xff}', b"[" * 100_000])
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    """Whatever the bytes are, the answer is a Status."""
    with pytest.raises(BadRequest):
        read_command(body)


def test_another_api_version_is_a_bad_request() -> None:
    """Two are accepted."""
    for version in ("v1", "image.openshift.io/v1"):
        assert read_command(msgspec.json.encode(mapping("latest", "a", apiVersion=version)))
    with pytest.raises(BadRequest, match="apiVersion"):
        read_command(msgspec.json.encode(mapping("latest", "a", apiVersion="v2")))


def test_a_huge_wrong_value_does_not_make_the_answer_huge() -> None:
    """A message repeats the beginning of it, and names a bounded number of faults."""
    body = on("RollbackTag", "a", to={"steps": "9" * 1_000_000})
    with pytest.raises(Invalid) as refused:
        read_command(json.dumps(body).encode())
    assert len(str(refused.value)) < 2 * VALUE_LENGTH_MAX
    many = {"kind": "HoldTag", "metadata": {"name": "a:b"}} | {f"x{number}": 1 for number in range(10_000)}
    assert len(fields(many)) == 100


@pytest.mark.parametrize("inner", ["[{}]", '{{"a":{}}}', '["]}}\\"",{}]'])
def test_what_is_nested_too_deep_is_refused(inner: str) -> None:
    """A decoder bears as much as the stack of its caller leaves; what one accepts, all have to read."""

    def body(depth: int) -> bytes:
        nested = "1"
        for _ in range(depth):
            nested = inner.format(nested)
        posted = mapping("latest", "a")
        posted["image"]["dockerImageMetadata"] = {"x": "here"}
        return json.dumps(posted).replace('"here"', nested).encode()

    assert read_command(body(NESTING_MAX - 3))
    with pytest.raises(BadRequest, match="nested deeper than 100"):
        read_command(body(NESTING_MAX + 1))


def test_what_is_nested_too_deep_is_refused_inside_a_config() -> None:
    """Manifest and config are JSON of their own."""
    posted = mapping("latest", "a")
    posted["image"] |= {"dockerImageManifest": "{}", "dockerImageConfig": '{"a":' * 5_000}
    assert fields(posted) == ["image.dockerImageConfig"]
    posted["image"] |= {"dockerImageConfig": '{"a":' * 101 + "1" + "}" * 101}
    assert fields(posted) == ["image.dockerImageConfig"]
