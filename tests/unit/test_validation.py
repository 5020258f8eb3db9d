"""Rules of commands, each with its field, type and words; what conformance cases cover is not repeated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tagstack.domain.decider import check_addressee
from tagstack.domain.errors import BadRequest, Fault, Invalid
from tagstack.domain.layers import layers_faults
from tagstack.domain.names import ImageStreamName
from tagstack.domain.wire import read_command
from tests.examples import NAME, alias, command, digest, image_stream, mapping, on, tag_of


def faults(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return field and type of every fault of a body."""
    try:
        read_command(msgspec.json.encode(body))
    except Invalid as error:
        return [(fault.field, fault.type) for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (mapping("a b", "a"), [("tag", "Invalid")]),
        (mapping("", "a"), [("tag", "Required")]),
        (tag_of("a b", alias("b")), [("metadata.name", "Invalid")]),
        (on("HoldTag", "a/b"), [("metadata.name", "Invalid")]),
        ({"kind": "HoldTag", "metadata": {"name": "app"}}, [("metadata.name", "Invalid")]),
        ({"kind": "DeleteImageStreamTag", "metadata": {"name": "App:a"}}, [("metadata.name", "Invalid")]),
        (image_stream({"a b": {"from": alias("c")}}), [("spec.tags[a b].name", "Invalid")]),
        (tag_of("a", alias("b c")), [("tag.from.name", "Invalid")]),
        (tag_of("a", alias("x:y:z")), [("tag.from.name", "Invalid")]),
        (tag_of("a", alias("B:c")), [("tag.from.name", "Invalid")]),
        (tag_of("a", alias("b") | {"namespace": "A"}), [("tag.from.namespace", "Invalid")]),
        (tag_of("a", None), [("tag.from", "Required")]),
        (on("PromoteTag", "a"), [("from.name", "Required")]),
        (on("PromoteTag", "a", **{"from": {"name": "b"}}), [("from.name", "Invalid")]),
        (on("PromoteTag", "a", **{"from": {"kind": "DockerImage", "name": "b:c"}}), [("from.kind", "NotSupported")]),
        ({"kind": "DeleteImageStream", "metadata": {"name": ""}}, [("metadata.name", "Required")]),
        ({"kind": "ImageAnnotations", "metadata": {"name": "sha256:1"}}, [("metadata.name", "Invalid")]),
        (on("ImageTag", "a", spec={"name": "b", "from": alias("c")}), [("spec.name", "Invalid")]),
        (on("ImageTag", "a", spec={}), [("spec.from", "Required")]),
    ],
)
def test_a_broken_rule_is_told_at_its_field(body: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    """Tag names are checked wherever one stands, and sources before anything is looked up."""
    assert faults(body) == wanted


def test_an_image_stream_has_a_bound_of_tags() -> None:
    """900 in one object are fine, one more is too long."""
    tags = {f"t{number}": {"from": {"kind": "DockerImage", "name": "a"}} for number in range(900)}
    assert faults(image_stream(tags)) == []
    assert faults(image_stream(tags | {"one-more": {}})) == [("spec.tags", "TooLong")]


def test_a_history_that_is_sent_back_has_pull_specs() -> None:
    """`status` is read only, but nonsense in it is told."""
    body = image_stream() | {"status": {"tags": [{"tag": "a", "items": [{"image": digest("a")}]}]}}
    assert faults(body) == [("status.tags[a].items[0].dockerImageReference", "Required")]


def test_another_namespace_than_the_requests_is_a_bad_request() -> None:
    """In OpenShift's words; none is the request's."""
    asked = command(mapping("latest", "a") | {"metadata": {"name": "app", "namespace": "prod"}})
    message = "the namespace of the provided object does not match the namespace sent on the request"
    with pytest.raises(BadRequest, match=message):
        check_addressee(asked, NAME)
    check_addressee(asked, ImageStreamName("prod", "app"))
    check_addressee(command(mapping("latest", "a")), NAME)


def test_another_image_stream_than_the_requests_is_a_bad_request() -> None:
    """The subject says where a command goes, the body may not say otherwise."""
    with pytest.raises(BadRequest, match="'app'"):
        check_addressee(command(on("HoldTag", "a")), ImageStreamName("test", "other"))


def test_a_refusal_lists_every_fault_in_one_message() -> None:
    """In brackets where there are several, as Kubernetes does."""
    one, other = Fault("a", "Required"), Fault("b", "Forbidden", "not here")
    assert str(Invalid.of("ImageStream", "x", [one])) == (
        'ImageStream.image.openshift.io "x" is invalid: a: Required value'
    )
    assert str(Invalid.of("ImageStream", "x", [one, other])).endswith(
        "is invalid: [a: Required value, b: Forbidden: not here]"
    )


def test_layers_name_no_empty_digest() -> None:
    """Neither a layer nor a manifest."""
    found = layers_faults({"i": {"layers": ["a", ""], "manifests": [""]}})
    assert [fault.field for fault in found] == ["images[i].layers[1]", "images[i].manifests[0]"]
