"""The JetStream streams of the contract, declared by our own code.

FastStream's declaration resets flags it does not know, so it is never used for these.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from tagstack.domain.errors import TagstackError, Unavailable

EVENTS_STREAM = "TAGSTACK_EVENTS"
TAGS_STREAM = "TAGSTACK_TAGS"
QUEUE_STREAM = "TAGSTACK_QUEUE"
DEAD_STREAM = "TAGSTACK_DEAD"

DUPLICATE_WINDOW_S = 120
QUEUE_MESSAGES_MAX = 1_000_000
QUEUE_PARTITIONS = 8  # each has one consumer with one message in flight, so order holds over any number of workers
DEAD_MESSAGES_MAX = 1_000_000
REQUEST_TIMEOUT_S = 5.0
RESTORING = "tagstack.dev/restoring"  # metadata of a log that is not whole yet; only a restore takes it away
CLUSTER_TIMEOUT_S = 20.0  # for a cluster to choose who leads, and to see enough of its nodes
CLUSTER_WAIT_S = 0.2
_STREAM_EXISTS = 10058
_NOT_YET = {10005, 10008}  # no suitable peers for placement; JetStream system temporarily unavailable

_EVENTS: dict[str, Any] = {
    "name": EVENTS_STREAM,
    "subjects": ["tagstack.events.>", "tagstack.images.>"],
    "retention": "limits",
    "discard": "new",
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "deny_delete": True,
    "deny_purge": True,
    "allow_direct": True,
    "allow_atomic": True,
    "duplicate_window": DUPLICATE_WINDOW_S * 10**9,
    "compression": "none",
}
_TAGS: dict[str, Any] = {
    "name": TAGS_STREAM,
    "subjects": [],  # while it has no source the server gives it a subject and a window for duplicates
    "duplicate_window": 0,
    "retention": "limits",
    "discard": "old",
    "max_msgs": -1,
    "max_msgs_per_subject": 1,
    "allow_direct": True,
    "sources": [
        {
            "name": EVENTS_STREAM,
            "subject_transforms": [
                {
                    "src": "tagstack.events.*.*.tag.*",
                    "dest": "tagstack.tags.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
                }
            ],
        }
    ],
    "republish": {"src": "tagstack.tags.>", "dest": "tagstack.changed.>"},
    "compression": "none",
}
_QUEUE: dict[str, Any] = {
    "name": QUEUE_STREAM,
    "subjects": ["tagstack.queue.*.*.*"],
    "subject_transform": {
        "src": "tagstack.queue.*.*.*",
        "dest": f"tagstack.queue.{{{{partition({QUEUE_PARTITIONS},2,3)}}}}"
        ".{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
    },
    "retention": "workqueue",
    "discard": "new",
    "max_msgs": QUEUE_MESSAGES_MAX,
    "duplicate_window": DUPLICATE_WINDOW_S * 10**9,
}
_DEAD: dict[str, Any] = {
    "name": DEAD_STREAM,
    "subjects": ["tagstack.dead.>"],
    "retention": "limits",
    "discard": "old",
    "max_msgs": DEAD_MESSAGES_MAX,
    "allow_direct": True,
    "duplicate_window": DUPLICATE_WINDOW_S * 10**9,
}


def declarations(replicas: int = 1) -> list[dict[str, Any]]:
    """Return the configuration of every stream, in the order they have to be made."""
    kept = {"storage": "file", "num_replicas": replicas, "max_age": 0, "max_bytes": -1, "max_msg_size": -1}
    # synced and written out later than acked: it is filled from the log again where it lost something
    tags = _TAGS | ({"persist_mode": "async"} if replicas == 1 else {})
    return [kept | stream for stream in (_EVENTS, tags, _QUEUE, _DEAD)]


async def jetstream(nc: Client, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask JetStream's API and return its answer, an `error` in it included.

    Raises: Unavailable where no server with JetStream answers.
    """
    try:
        payload = b"" if body is None else json.dumps(body).encode()
        reply = await nc.request(f"$JS.API.{call}", payload, timeout=REQUEST_TIMEOUT_S)
    except (NatsTimeout, NoRespondersError) as error:
        raise Unavailable(f"JetStream does not answer to {call}: {error}") from error
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


async def settled(nc: Client) -> None:
    """Return when the server has taken everything sent before, subscriptions included.

    nats-py's own `flush` is no such barrier: its PING overtakes what still waits to be written.
    """
    await jetstream(nc, "INFO")


async def declare(nc: Client, replicas: int = 1) -> None:
    """Create the streams that are missing and bring the others up to their declaration.

    Waits, within a bound, for a cluster that has only just started.
    """
    deadline = time.monotonic() + CLUSTER_TIMEOUT_S
    for wanted in declarations(replicas):
        while why_not := await _declare(nc, wanted):
            if time.monotonic() > deadline:
                raise Unavailable(why_not)
            await asyncio.sleep(CLUSTER_WAIT_S)


async def _declare(nc: Client, wanted: dict[str, Any]) -> str:
    """Declare one stream; return why that can't be done yet, "" when it is done."""
    name = wanted["name"]
    try:
        answer = await jetstream(nc, f"STREAM.CREATE.{name}", wanted)
        if answer.get("error", {}).get("err_code") == _STREAM_EXISTS:
            answer = await _bring_up(nc, wanted)
    except Unavailable as error:
        return str(error)
    if "error" not in answer:
        return ""
    why = f"stream {name} can't be declared: {answer['error']['description']}"
    if answer["error"].get("err_code") in _NOT_YET:
        return why
    raise TagstackError(why)


async def _bring_up(nc: Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """Bring a stream up to its declaration and return JetStream's answer.

    An update replaces a stream's whole configuration, so it starts from the server's own.
    """
    name = wanted["name"]
    current = (await stream_info(nc, name))["config"]
    if RESTORING in current.get("metadata", {}):
        raise TagstackError(f"stream {name} is half restored: run `tagstack restore` again to finish it")
    mode = {"persist_mode": current.get("persist_mode", "default")}  # for good: no update changes it
    if mode["persist_mode"] == "async" and wanted["num_replicas"] > 1:
        # replicas can't have it; the server fills the new stream from the log
        await jetstream(nc, f"STREAM.DELETE.{name}")
        return await jetstream(nc, f"STREAM.CREATE.{name}", wanted)
    return await jetstream(nc, f"STREAM.UPDATE.{name}", current | wanted | mode)


async def stream_info(nc: Client, name: str) -> dict[str, Any]:
    """Return JetStream's description of a stream: `config`, `created`, `state` and more."""
    answer = await jetstream(nc, f"STREAM.INFO.{name}")
    if "error" in answer:
        raise Unavailable(f"stream {name}: {answer['error']['description']}")
    return answer


async def log_position(nc: Client) -> int:
    """Return the position of the log's last event; 0 for an empty log."""
    return int((await stream_info(nc, EVENTS_STREAM))["state"]["last_seq"])
