"""Histories of real decider output: commands run by the real handler against a log in memory.

`histories()` draws one; it is a list of (position, event).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import strategies as st

from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.image_commands import NOWHERE
from tagstack.application.ports import Request, Stored
from tagstack.domain.errors import Refused
from tagstack.domain.events import (
    Event,
    ImageStreamEvent,
    TagEvent,
)
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of
from tests.memory_log import MemoryLog

History = list[Stored]
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
IMAGES = [f"sha256:{digit * 64}" for digit in "abcd"]
STREAMS = [ImageStreamName("prod", "api"), ImageStreamName("prod", "web"), ImageStreamName("dev", "api")]
TAGS = ["latest", "v1", "v1.2"]
ACTORS = ["ann", "bob"]
# most commands meet at one tag, so that something happens to it
_STREAM = st.sampled_from([STREAMS[0]] * 4 + STREAMS)
_TAG = st.sampled_from([TAGS[0]] * 2 + TAGS)


def stream_of(event: Event) -> ImageStreamName | None:
    """Return the image stream an event belongs to."""
    if isinstance(event, TagEvent | ImageStreamEvent):
        return ImageStreamName(event.namespace, event.image_stream)
    return None


async def play(commands: Sequence[dict[str, Any]]) -> History:
    """Return the log after some commands; refused ones leave what refused commands leave."""
    log, ticks, uids = MemoryLog(), count(), count(1)
    clock = [BEGIN]

    def now() -> str:
        next(ticks)
        return text_of(clock[0])

    handler = CommandHandler(log, Surroundings(now, lambda: f"uid-{next(uids)}", Grants()))
    for number, command in enumerate(commands):
        clock[0] += timedelta(seconds=command["after_s"])
        request = Request(
            actor=command["actor"],
            target=command["target"],
            body=json.dumps(command["body"]).encode(),
            command_id=f"c{number}",
            reason=command["reason"],
        )
        try:
            await handler.handle(request)
        except Refused:
            continue
    return log.stored


def histories(max_size: int = 40) -> st.SearchStrategy[History]:
    """Return a strategy of histories of up to `max_size` commands."""
    return st.lists(_commands(), min_size=max_size // 4, max_size=max_size).map(
        lambda commands: asyncio.run(play(commands))
    )


def _commands() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda sent, actor, reason, after_s: {
            "target": sent[0],
            "body": sent[1],
            "actor": actor,
            "reason": reason,
            "after_s": after_s,
        },
        _sent(),
        st.sampled_from(ACTORS),
        st.sampled_from(["", "because", 'it\'s "done" \u2713']),
        st.sampled_from([0, 0, 1, 90_000]),  # several commands in one moment, and the next day
    )


@st.composite
def _sent(draw: st.DrawFn) -> tuple[ImageStreamName, dict[str, Any]]:
    kind = draw(st.sampled_from(_KINDS))
    if kind in _OF_IMAGES:
        return NOWHERE, _of_image(draw, kind)
    target = draw(_STREAM)
    return target, {"kind": kind, **_BODIES[kind](draw, target)}


def _tag_name(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    return {"metadata": {"name": f"{target.name}:{draw(_TAG)}"}}


def _image(draw: st.DrawFn, image: str) -> dict[str, Any]:
    registry = draw(st.sampled_from(["one.example.com", "two.example.com:5000"]))
    given: dict[str, Any] = {"metadata": {"name": image}, "dockerImageReference": f"{registry}/app@{image}"}
    if draw(st.booleans()):
        config = {"Labels": {"team": "a"}, "Env": ["A=1"], "Cmd": ["run"]}
        metadata = {"Architecture": "amd64", "Os": "linux", "Size": 7, "Created": "2016-01-01T00:00:00+02:00"}
        given["dockerImageMetadata"] = {"kind": "DockerImage", **metadata, "Config": config}
        given["dockerImageLayers"] = [{"name": layer, "size": 3, "mediaType": "t"} for layer in ("x", "y", "x")]
    elif draw(st.booleans()):
        child = {"digest": IMAGES[0], "mediaType": "m", "manifestSize": 5, "architecture": "arm64", "os": "linux"}
        given["dockerImageManifests"] = [child, child | {"digest": IMAGES[1], "variant": "v8"}]
    return given


def _mapping(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    image = _image(draw, draw(st.sampled_from(IMAGES)))
    return {"metadata": {"name": target.name}, "image": image, "tag": draw(_TAG)}


def _source(draw: st.DrawFn) -> dict[str, Any]:
    other = draw(_STREAM)
    kind = draw(st.sampled_from(["ImageStreamTag", "ImageStreamTag", "ImageStreamImage", "DockerImage"]))
    if kind == "DockerImage":
        return {"kind": kind, "name": draw(st.sampled_from(["docker.io/library/a:1", "docker.io/library/b:2"]))}
    suffix = f":{draw(_TAG)}" if kind == "ImageStreamTag" else f"@{draw(st.sampled_from(IMAGES))}"
    return {"kind": kind, "namespace": other.namespace, "name": other.name + suffix}


def _spec(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {"from": _source(draw), "reference": draw(st.booleans())}
    if draw(st.booleans()):
        spec["annotations"] = {"tagstack.dev/follow": "true"}
    return spec


def _tag(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    return _tag_name(draw, target) | {"tag": _spec(draw)}


def _image_stream(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    spec: dict[str, Any] = {"lookupPolicy": {"local": draw(st.booleans())}}
    names = draw(st.lists(st.sampled_from(TAGS), unique=True, max_size=2))
    if names:
        spec["tags"] = [{"name": name, **_spec(draw)} for name in names]
    labels = draw(st.sampled_from([{}, {"team": "a"}, {"team": "b", "tier": "1"}]))
    annotations = draw(st.sampled_from([{}, {"note": "x"}]))
    return {"metadata": {"name": target.name, "labels": labels, "annotations": annotations}, "spec": spec}


def _rollback(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    to = draw(
        st.sampled_from([{}, {"steps": 2}, {"stackPosition": 1}, {"stackPosition": 3}, {"image": "sha256:a"}])
        | st.just({"time": text_of(BEGIN + timedelta(days=1))})
    )
    return _tag_name(draw, target) | {"to": to, "hold": draw(st.booleans())}


def _release(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    return _tag_name(draw, target) | {"advance": draw(st.booleans())}


def _promote(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    source = draw(_STREAM)
    named = {"namespace": source.namespace, "name": f"{source.name}:{draw(_TAG)}"}
    return _tag_name(draw, target) | {"from": named}


def _delete_tag(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    return _tag_name(draw, target) | {"force": draw(st.booleans())}


def _delete_image_stream(draw: st.DrawFn, target: ImageStreamName) -> dict[str, Any]:
    return {"metadata": {"name": target.name}, "force": draw(st.booleans())}


def _of_image(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    image = draw(st.sampled_from(IMAGES))
    if kind == "Image":
        return {"kind": kind, **_image(draw, image)}
    if kind == "ImageSignature":
        return {"kind": kind, "metadata": {"name": f"{image}@sig"}, "type": "atomic", "content": "c2ln"}
    annotations = draw(st.sampled_from([{"a": "1"}, {"a": ""}, {"b": "2"}]))
    return {"kind": kind, "metadata": {"name": image, "annotations": annotations}}


_BODIES = {
    "ImageStreamMapping": _mapping,
    "ImageStreamTag": _tag,
    "ImageStream": _image_stream,
    "RollbackTag": _rollback,
    "HoldTag": _tag_name,
    "ReleaseTag": _release,
    "PromoteTag": _promote,
    "DeleteImageStreamTag": _delete_tag,
    "DeleteImageStream": _delete_image_stream,
}
_OF_IMAGES = ("Image", "ImageSignature", "ImageAnnotations")
# pushes are the common thing
_KINDS = [*_BODIES, *_OF_IMAGES, *["ImageStreamMapping"] * 6, "RollbackTag", "HoldTag", "ReleaseTag"]
