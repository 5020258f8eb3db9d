"""Writes the JSON Schema of every command and event, and the AsyncAPI document, from the code.

`python -m tagstack.apps.schemas DIR` renews them; a test says when that is due.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from tagstack import __version__
from tagstack.application.queries import Query
from tagstack.domain.commands import AnyCommand
from tagstack.domain.events import AnyEvent

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_CHANNELS = {
    "commands": ("tagstack.commands.{actor}.{namespace}.{imageStream}", "Commands; answered with a Status when stored"),
    "queue": ("tagstack.queue.{actor}.{namespace}.{imageStream}", "Commands that are kept while no worker runs"),
    "dead": ("tagstack.dead.{actor}.{namespace}.{imageStream}", "Queued commands that were refused, with the reason"),
    "queries": ("tagstack.queries.{actor}.{namespace}", "Queries about one project; the object, a list, or a Status"),
    "sql": ("tagstack.sql.{actor}", "SQL on a snapshot; several messages, then an empty one"),
    "changed": ("tagstack.changed.{namespace}.{imageStream}.{tag}", "Each event of a tag, as it happens"),
    "tags": ("tagstack.tags.{namespace}.{imageStream}.{tag}", "The last event of each tag (stream TAGSTACK_TAGS)"),
    "tagEvents": ("tagstack.events.{namespace}.{imageStream}.tag.{tag}", "The log: events of a tag"),
    "imageStreamEvents": ("tagstack.events.{namespace}.{imageStream}.stream", "The log: events of an image stream"),
}
_DESCRIBED = {"actor": "who asks", "namespace": "project", "imageStream": "image stream", "tag": "tag"}


def schemas() -> dict[str, dict[str, Any]]:
    """Return every JSON Schema by its file name, without the ending."""
    found = {}
    for folder, union in (("commands", AnyCommand), ("events", AnyEvent)):
        for struct in get_args(union):
            found[f"{folder}/{struct.__struct_config__.tag}"] = _schema(struct)
    found["queries/Query"] = _schema(Query)
    return found


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of everything that travels over NATS."""
    commands = [struct.__struct_config__.tag for struct in get_args(AnyCommand)]
    events = [struct.__struct_config__.tag for struct in get_args(AnyEvent)]
    messages = {name: _message("commands", name) for name in commands}
    messages |= {name: _message("events", name) for name in events}
    messages["Query"] = _message("queries", "Query")
    carried = {"commands": commands, "queue": commands, "dead": commands, "queries": ["Query"], "sql": []}
    tag_events = [name for name in events if name.startswith(("tag_", "image_tagged", "push_"))]
    carried |= {"changed": tag_events, "tags": tag_events, "tagEvents": tag_events}
    carried["imageStreamEvents"] = [name for name in events if name.startswith("image_stream_")]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "tagstack", "version": __version__, "description": "Image streams as events on NATS."},
        "defaultContentType": "application/json",
        "channels": {name: _channel(name, carried[name]) for name in _CHANNELS},
        "operations": {
            name: {"action": "send" if name in ("changed", "tags") else "receive", "channel": _ref("channels", name)}
            for name in ("commands", "queue", "queries", "sql", "changed", "tags")
        },
        "components": {"messages": messages},
    }


def write(folder: Path) -> None:
    """Write every document below `folder`."""
    for name, document in {**schemas(), "asyncapi": asyncapi()}.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rendered(document))


def rendered(document: dict[str, Any]) -> bytes:
    """Return a document as it is written to its file."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _schema(struct: type) -> dict[str, Any]:
    (top,), components = msgspec.json.schema_components((struct,), ref_template="#/$defs/{name}")
    own = components.pop(struct.__name__)
    assert top["$ref"].endswith(struct.__name__), "a struct refers to itself"
    document = {"$schema": SCHEMA_DIALECT, **own, **({"$defs": components} if components else {})}
    for part in (document, *components.values()):
        part["description"] = inspect.cleandoc(part["description"])  # Python 3.13 keeps no indentation, 3.11 does
    return document


def _message(folder: str, name: str) -> dict[str, Any]:
    return {"name": name, "payload": {"$ref": f"./{folder}/{name}.json"}}


def _channel(name: str, messages: list[str]) -> dict[str, Any]:
    address, description = _CHANNELS[name]
    parameters = {key: {"description": text} for key, text in _DESCRIBED.items() if f"{{{key}}}" in address}
    return {
        "address": address,
        "description": description,
        "parameters": parameters,
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in messages},
    }


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/{kind}/{name}"}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
