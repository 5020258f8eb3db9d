"""`tagstack watch`: changes of tags as they happen, from the tag-changed topics."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tagstack.cli import references, session
from tagstack.cli.failures import UsageError
from tagstack.cli.options import DEFAULT_NAMESPACE, Flag, Output, Project
from tagstack.cli.output import print_yaml, say, seconds, short
from tagstack.domain.names import image_stream_faults, namespace_faults, tag_faults

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from tagstack.adapters.nats_client import ServiceClient

EVERYTHING = "*/*:*"
_WILD = set("*?[")
_STREAM_SOURCE = "Nats-Stream-Source"  # stream, sequence and more of what TAGSTACK_TAGS copied
_TOLD = {
    "tag_configured": "configured",
    "push_withheld": "withheld",
    "tag_held": "held",
    "tag_released": "released",
    "tag_deleted": "deleted",
}


def watch(
    pattern: str | None = None,
    /,
    *,
    snapshot: Annotated[bool, Flag] = False,
    count: Annotated[int | None, Parameter(name=["--count", "-c"])] = None,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """Changes of tags as they happen, one line each, until Ctrl-C.

    Parameters
    ----------
    pattern
        [NAMESPACE/]STREAM[:TAG] with * and ? in any part: 'test/*', 'test/app:v1.*'; everything without it
    snapshot
        first the last change of every tag
    count
        end after so many changes
    """
    parts = split_pattern(pattern, project.given_namespace)
    if count is not None and count < 1:
        raise UsageError(f"--count must be at least 1, got {count}")

    async def work(client: ServiceClient) -> None:
        seen = 0
        async with contextlib.aclosing(_changes(client, parts, snapshot=snapshot)) as changes:
            async for event in changes:
                _print(event, output.format)
                sys.stdout.flush()
                seen += 1
                if seen == count:
                    return

    return session.run(project, work)


def split_pattern(pattern: str | None, namespace: str) -> tuple[str, str, str]:
    """Return the patterns of namespace, image stream and tag. Raises UsageError for what no tag is called."""
    if pattern is None or (pattern == "*" and not namespace):
        pattern = f"{namespace or '*'}/*:*"
    space, rest = references.split_namespace(pattern, namespace or DEFAULT_NAMESPACE)
    stream, colon, tag = rest.partition(":")
    if not stream or (colon and not tag) or ":" in tag:
        raise UsageError(f"PATTERN must be of the form [NAMESPACE/]STREAM[:TAG], got {pattern!r}")
    tag = tag or "*"
    for part, faults_of in ((space, namespace_faults), (stream, image_stream_faults), (tag, tag_faults)):
        if not _WILD & set(part) and (faults := faults_of(part)):
            raise UsageError(f"PATTERN {pattern!r}: {faults[0].message}")
    return space, stream, tag


async def _changes(
    client: ServiceClient, parts: tuple[str, str, str], *, snapshot: bool
) -> AsyncGenerator[dict[str, Any], None]:
    from tagstack.adapters.nats_subjects import CHANGED, TAGS, token

    tokens = ".".join("*" if _WILD & set(part) else token(part) for part in parts)
    messages = client.tags(f"{TAGS}.{tokens}") if snapshot else client.messages(f"{CHANGED}.{tokens}")
    async with contextlib.aclosing(messages):
        async for message in messages:
            try:
                event = json.loads(message.data)
                names = (event["namespace"], event["imageStream"], event["tag"])
            except (ValueError, TypeError, KeyError):
                continue  # no event: somebody else may publish there
            if all(fnmatch.fnmatchcase(name, part) for name, part in zip(names, parts, strict=True)):
                yield event | {"position": _position(message)}


def _position(message: Msg) -> int | None:
    """Return the log position of a change."""
    source = (message.headers or {}).get(_STREAM_SOURCE, "").split(" ")
    return int(source[1]) if len(source) > 1 and source[1].isdigit() else None


def _print(event: dict[str, Any], form: str) -> None:
    if form == "json":
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    elif form == "yaml":
        sys.stdout.write("---\n")
        print_yaml(event)
    elif form == "name":
        say(_name(event))
    else:
        say(line_of(event))


def _name(event: dict[str, Any]) -> str:
    return f"{event['namespace']}/{event['imageStream']}:{event['tag']}"


def line_of(event: dict[str, Any]) -> str:
    """Return a change as one line: when, what, by whom, why."""
    image, previous = event.get("image"), event.get("previousImage")
    told = _TOLD.get(event["type"])
    if told is None:
        told = f"moved to {short(image)}" if image != previous else f"has another pull spec {event.get('pullSpec')}"
        if previous and image != previous:
            told += f" (was {short(previous)})"
    elif event["type"] == "push_withheld":
        hold = event.get("hold") or {}
        withheld = (hold.get("withheld") or {}).get("image")
        told = f"{told} {short(withheld)}: held by {hold.get('actor')}"
    elif event["type"] == "tag_deleted" and previous:
        told += f" (was {short(previous)})"
    elif event["type"] == "tag_released" and image != previous:
        told += f", moved to {short(image)} (was {short(previous)})"
    why = f": {event['reason']}" if event.get("reason") else ""
    origin = f" ({event['origin']})" if event.get("origin") else ""
    return f"{seconds(event['time'])}  {_name(event)}  {told}  by {event['actor']}{origin}{why}"
