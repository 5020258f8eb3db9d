"""A stranger's program: nats-py, subprocesses and DuckDB beside a running service, no import of tagstack."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nats

from tests.e2e.service import Up

WAIT_S = 20.0
POLL_S = 0.02

Object = dict[str, Any]


def digest(number: int) -> str:
    """Return the digest of an image that a test makes up."""
    return f"sha256:{number:064x}"


def token(name: str) -> str:
    """Return a name as a token of a subject."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: f"%{ord(found.group()):02X}", name)


class Outside:
    """What a program without any library of ours can do."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self._loop = asyncio.new_event_loop()
        self.nc = self.wait(nats.connect(up.endpoints["nats"]))
        self.js = self.nc.jetstream()

    def close(self) -> None:
        """Close the connection."""
        self.wait(self.nc.close())
        self._loop.close()

    def wait(self, coroutine: Any) -> Any:
        """Run a coroutine of nats-py to its end."""
        return self._loop.run_until_complete(coroutine)

    def raw(self, subject: str, body: Object | bytes, **headers: str) -> Object:
        """Send a request and return what is answered; `Tagstack_Reason` is the header Tagstack-Reason."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()} or None
        return json.loads(self.wait(self.nc.request(subject, data, headers=named, timeout=WAIT_S)).data)

    def command(self, kind: str, ref: str, body: Object | None = None, actor: str = "bob", **headers: str) -> Object:
        """Send a command about `namespace/name` and return the Status."""
        namespace, name = ref.split("/")
        subject = f"tagstack.commands.{token(actor)}.{namespace}.{token(name.split(':')[0])}"
        return self.raw(subject, {"kind": kind, "metadata": {"name": name}} | (body or {}), **headers)

    def push(self, ref: str, image: int, pull_spec: str = "", actor: str = "bob", **headers: str) -> Object:
        """Map an image to a tag and return the Status."""
        name, tag = ref.split(":")
        body = {"tag": tag, "image": {"dockerImageReference": pull_spec or f"r.example/{name}@{digest(image)}"}}
        return self.command("ImageStreamMapping", name, body, actor, **headers)

    def tag(self, ref: str, source: str, kind: str = "ImageStreamTag", **more: Any) -> Object:
        """Configure a tag as `oc tag` does; `source` may name a namespace."""
        namespace, _, name = source.rpartition("/")
        origin = {"kind": kind, "name": name} | ({"namespace": namespace} if namespace else {})
        return self.command("ImageStreamTag", ref, {"tag": {"from": origin} | more})

    def query(self, kind: str, namespace: str, name: str = "", **more: Any) -> Object:
        """Ask for an object or a list of a project."""
        return self.raw(f"tagstack.queries.bob.{token(namespace)}", {"kind": kind, "name": name} | more)

    def stack(self, ref: str) -> list[Object]:
        """Return a tag's history stack."""
        return self.query("History", *ref.split("/"))["items"]

    def events(self, condition: str, position: int) -> list[Object]:
        """Return rows of `events` by SQL, read after a position."""
        return self.sql(f"FROM events WHERE {condition} ORDER BY position", position)

    def sql(self, sql: str, position: int = 0) -> list[Object]:
        """Return the rows of a statement as objects."""
        messages = self.wait(self._answers({"sql": sql, "format": "json", "minPosition": position}))
        assert "columns" in messages[0], messages
        names = [column["name"] for column in messages[0]["columns"]]
        return [dict(zip(names, row, strict=True)) for part in messages[1:] for row in part]

    async def _answers(self, body: Object) -> list[Any]:
        box = self.nc.new_inbox()
        subscription = await self.nc.subscribe(box)
        await self.nc.publish("tagstack.sql.bob", json.dumps(body).encode(), reply=box)
        messages = []
        while data := (await subscription.next_msg(timeout=WAIT_S)).data:
            messages.append(json.loads(data))
        await subscription.unsubscribe()
        return messages

    def last(self, stream: str, subject: str) -> Any:
        """Return the last message of a subject in a JetStream stream."""
        return self.wait(self.js.get_last_msg(stream, subject))

    def until(self, true: Callable[[], Any]) -> Any:
        """Return what is true, waiting for it within a bound."""
        deadline = time.monotonic() + WAIT_S
        while not (found := true()):
            assert time.monotonic() < deadline, "waited too long"
            self.wait(asyncio.sleep(POLL_S))
        return found

    def settle(self) -> None:
        """Wait until every consumer of the log has nothing left to do; a late one follows an earlier event."""

        def settled() -> bool:
            consumers = self.wait(self.js.consumers_info("TAGSTACK_EVENTS"))
            return all(not (each.num_pending or each.num_ack_pending) for each in consumers)

        self.until(settled)

    @contextmanager
    def changes(self, subject: str) -> Iterator[Callable[[int], list[tuple[str, Object]]]]:
        """Subscribe to a topic; the function given returns so many of its messages."""
        subscription = self.wait(self.nc.subscribe(subject))
        self.wait(self.nc.flush())

        def take(count: int) -> list[tuple[str, Object]]:
            found = [self.wait(subscription.next_msg(timeout=WAIT_S)) for _ in range(count)]
            return [(message.subject, json.loads(message.data)) for message in found]

        yield take
        self.wait(subscription.unsubscribe())


def causes(status: Object) -> list[str]:
    """Return the field paths of a refusal."""
    assert status["reason"] == "Invalid", status
    return [cause["field"] for cause in status["details"]["causes"]]


def moves(status: Object) -> list[tuple[str, str | None, str | None]]:
    """Return what a command moved."""
    assert status["status"] == "Success", status
    return [(move["tag"], move["image"], move["previousImage"]) for move in status["details"]["moves"]]
