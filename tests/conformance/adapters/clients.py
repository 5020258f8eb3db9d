"""What a client does before it sends a command, who may read a source, and which registries are allowed."""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.application.grants import Grants
from tagstack.domain import pull_spec
from tagstack.domain.allow_list import AllowList
from tagstack.domain.import_request import ImportRequestError, wanted_all, wanted_tag
from tagstack.domain.names import ImageStreamName
from tagstack.domain.tagging import (
    TaggingError,
    TagOptions,
    check_options,
    delete_command,
    needs_image,
    parse_destination,
    parse_source,
    pinned,
    tag_command,
)
from tests.conformance.adapters import adapter
from tests.conformance.adapters.image_streams import body_of
from tests.conformance.seeds import any_digest, seed_stream
from tests.conformance.world import World, errors_of


@adapter("oc_tag")
def tag(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Make the commands of `oc tag`."""
    flags = {key: when[key] for key in TagOptions.__struct_fields__ if key in when}
    namespace = when.get("namespace", "myproject")
    try:
        if when.get("delete"):
            bodies = [delete_command(parse_destination(each, namespace, check=False)) for each in when["dest"]]
        else:
            options = TagOptions(**flags)
            source = parse_source(when["source"], namespace, when.get("source_kind", ""))
            check_options(source, options)
            if needs_image(source, options):
                source = pinned(source, any_digest(source.name))
            bodies = [tag_command(source, parse_destination(each, namespace), options) for each in when["dest"]]
    except TaggingError as error:
        return {"error": str(error)}
    return {"requests": [body["kind"] for body in bodies], "bodies": bodies}


@adapter("oc_import_image")
def import_image(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell what `oc import-image` asks for."""
    name, _, tag_name = when["name"].partition(":")
    world = World({})
    if stream := given.get("stream"):
        seed = stream | {"spec": {"dockerImageRepository": _repository(stream)}}
        world = World({"streams": {stream["name"]: seed}})
    state = world.state(name)
    try:
        if when.get("all"):
            wanted = wanted_all(state)
        else:
            source, confirm = when.get("from", ""), bool(when.get("confirm"))
            wanted = [wanted_tag(state, tag_name, source, confirm=confirm)]
    except ImportRequestError as error:
        return {"error": str(error)}
    return {"images": [{"from": each.source, "to": each.tag} for each in wanted]}


def _repository(stream: dict[str, Any]) -> str:
    spec = stream.get("spec") or {}
    return str(stream.get("spec_dockerImageRepository") or spec.get("dockerImageRepository", ""))


class _Asked(Grants, frozen=True):
    """Grants that note what was asked of them."""

    asked: list[str] = msgspec.field(default_factory=list)

    def allows(self, actor: str, namespace: str) -> bool:
        """Return whether an actor may read a project, and note the question."""
        if namespace not in self.asked:
            self.asked.append(namespace)
        return super().allows(actor, namespace)


@adapter("verify_tag_access")
def access(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Put spec tags as a user whose grants are the answers of the case."""
    answers, stream = given.get("access_review_answers") or {}, given["stream"]
    allowed = [source.partition("/")[0] for source, answer in answers.items() if answer == "allow"]
    grants = _Asked({when["user"]: allowed}, asked=[])
    world = World({"request_namespace": stream["namespace"]}, grants=grants)
    streams: dict[str, list[str]] = {}
    for spec in (when["spec_tags"] or {}).values():
        source = spec["from"]
        streams.setdefault(source.get("namespace", ""), []).append(source["name"].partition(":")[0].partition("@")[0])

    seed_stream(world.log, ImageStreamName(stream["namespace"], stream["name"]), {"spec_tags": given["old_spec_tags"]})
    for namespace, names in streams.items():
        for name in {*names} - {stream["name"], ""}:
            seed_stream(world.log, ImageStreamName(namespace or stream["namespace"], name), {})
    reply = world.send(stream["name"], body_of(stream["name"], when["spec_tags"]), actor=when["user"])
    asked = sorted({f"{namespace}/{name}" for namespace in grants.asked for name in streams.get(namespace, [])})
    return {"errors": errors_of(list(reply.faults)), "access_reviews_asked": asked}


@adapter("admit_hostname")
def admit(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell whether a registry is allowed."""
    allowed = AllowList(given["allowed"], insecure=given.get("allowed_insecure", False))
    return _admitted(allowed.refusal(when["host"], when["transport"]))


@adapter("admit_reference")
def admit_reference(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell whether a pull spec's registry is allowed."""
    allowed = AllowList(
        given["allowed"],
        insecure=given.get("allowed_insecure", False),
        repositories=given.get("grandfathered_references"),
    )
    return _admitted(allowed.refusal_of(pull_spec.parse(when["reference"]), when["transport"]))


def _admitted(refusal: str | None) -> dict[str, Any]:
    return {"allowed": refusal is None} | ({"error": refusal} if refusal else {})
