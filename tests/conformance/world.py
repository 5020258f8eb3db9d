"""The program as a case meets it: the real command handler and queries, on a log in memory."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec

from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.ports import Request
from tagstack.application.queries import Queries, Query
from tagstack.application.replies import failure, success
from tagstack.domain.errors import Fault, Invalid, Refused, StaleState, TagstackError, Unavailable
from tagstack.domain.events import ImageStreamEvent, TagEvent
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.names import ImageStreamName
from tests.conformance import seeds
from tests.memory_log import MemoryLog

NAMESPACE = "default"
FOR_EVER = 10_000
NOW = "2016-06-01T12:00:00.000000Z"


class Reply(msgspec.Struct):
    """An answer as a Status, and the refusal behind it, if it is one."""

    status: dict[str, Any]
    error: TagstackError | None = None

    @property
    def ok(self) -> bool:
        """Return whether the request was accepted."""
        return self.error is None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the broken rules of a refusal."""
        return self.error.faults if isinstance(self.error, Refused) else ()

    def told(self, accepted: str) -> dict[str, Any]:
        """Return the answer as cases spell it; `accepted` is the word for success."""
        if self.ok:
            return {"status": accepted}
        details = self.status["details"]
        return {
            "status": self.status["reason"],
            "http": self.status["code"],
            "message": self.status["message"],
            "kind": details.get("kind", ""),
            "name": details.get("name", ""),
            "errors": errors_of(list(self.faults)),
        }


def errors_of(faults: list[Fault]) -> list[dict[str, str]]:
    """Return faults as cases spell them."""
    return [{"field": fault.field, "type": fault.type, "detail": fault.detail} for fault in faults]


class World:
    """A log with what a case gives, and the handler and queries that read and write it."""

    def __init__(self, given: dict[str, Any], *, grants: Grants | None = None, registry: str = "") -> None:
        self.log = MemoryLog(_failing(given.get("fault", "")))
        self.namespace = given.get("request_namespace") or NAMESPACE
        self.registry = given.get("internal_registry", registry)
        grants = grants or Grants()
        self._handler = CommandHandler(
            self.log,
            Surroundings(now=lambda: NOW, uid=lambda: "uid-new", grants=grants, internal_registry=self.registry),
        )
        self._queries = Queries(self.log, Grants(), self.registry)
        self._sent = 0
        for name, stream in (given.get("streams") or {}).items():
            seeds.seed_stream(self.log, ImageStreamName(self.namespace, name), stream)
        seeds.seed_images(self.log, given.get("images") or {})

    def send(self, name: str, body: dict[str, Any], *, create: bool = True, actor: str = "user") -> Reply:
        """Send a command to an image stream and return the reply."""
        self._sent += 1
        target = ImageStreamName("_", "_") if name == "_" else ImageStreamName(self.namespace, name)
        request = Request(
            actor=actor,
            target=target,
            body=msgspec.json.encode(body),
            command_id=f"case-{self._sent}",
            create=create,
        )
        try:
            return Reply(success(asyncio.run(self._handler.handle(request))))
        except TagstackError as error:
            return Reply(failure(error), error)

    def ask(self, kind: str, name: str = "") -> Reply:
        """Ask a query; the object is the reply's status."""
        namespace = "_" if kind == "Image" else self.namespace
        try:
            return Reply(asyncio.run(self._queries.answer("user", namespace, Query(kind, name))))
        except TagstackError as error:
            return Reply(failure(error), error)

    def state(self, name: str) -> ImageStream:
        """Return an image stream's state."""
        return asyncio.run(self.log.load(ImageStreamName(self.namespace, name)))

    def knows_image(self, image: str) -> bool:
        """Return whether an image is recorded."""
        return asyncio.run(self.log.image(image)) is not None

    def status_tags(self, name: str) -> dict[str, Any]:
        """Return an image stream's history as cases spell it; {} where there is none."""
        found = self.ask("ImageStream", name)
        tags = found.status.get("status", {}).get("tags", []) if found.ok else []
        return {tag["tag"]: tag for tag in tags}

    def spec_tags(self, name: str) -> dict[str, Any]:
        """Return an image stream's spec tags in the shorthand of cases."""
        tags = self.ask("ImageStream", name).status["spec"].get("tags", [])
        return {tag["name"]: short_spec(tag) for tag in tags}

    def heads(self, name: str) -> dict[str, str]:
        """Return what each tag points at."""
        return {tag: found["items"][0]["image"] for tag, found in self.status_tags(name).items()}


def short_spec(tag: dict[str, Any]) -> dict[str, Any]:
    """Return OpenShift's TagReference in the shorthand of cases."""
    return tag | {
        "importMode": tag["importPolicy"]["importMode"],
        "scheduled": tag["importPolicy"].get("scheduled", False),
        "referencePolicy": tag["referencePolicy"]["type"],
    }


def long_spec(given: dict[str, Any]) -> dict[str, Any]:
    """Return OpenShift's TagReference as JSON from the shorthand of cases."""
    plain = ("name", "annotations", "from", "reference", "generation")
    found = {key: given[key] for key in plain if key in given}
    policy = {key: given[key] for key in ("importMode", "scheduled", "insecure") if key in given}
    if policy:
        found["importPolicy"] = policy
    if "referencePolicy" in given:
        found["referencePolicy"] = {"type": given["referencePolicy"]}
    return found


def _failing(text: str) -> Any:
    """Return a hook that makes the first appends fail, as the text of a case's `fault` says."""
    if not text:
        return None
    times = int(found[1]) if (found := re.search(r"first (\d+)", text)) else 1
    if re.search(r"\b(every|all|each|always)\b", text):
        times = FOR_EVER
    code = found[1] if (found := re.search(r"\b([45]\d\d)\b", text)) else "409"
    another = re.search(r"another|different|new head|head (has )?changed|other head", text) is not None

    def before_append(log: MemoryLog) -> None:
        if log.appends > times:
            return
        if code == "409":
            _other_writer(log, moves=another)
            raise StaleState(len(log.stored))
        if code == "422":
            raise Invalid.of("ImageStream", "", [Fault("spec", "Invalid", "refused by the log")])
        raise Unavailable(f"the log answers {code}")

    return before_append


def _other_writer(log: MemoryLog, *, moves: bool) -> None:
    """Let someone else write first: move the tag that moved last, or only touch the image stream."""
    if not moves:
        events = [event for _, event in log.stored if isinstance(event, ImageStreamEvent)]
        log.put(*events[-1:])
        return
    event = next(event for _, event in reversed(log.stored) if isinstance(event, TagEvent) and event.head)
    image = seeds.any_digest("another")
    head = msgspec.structs.replace(event.head, image=image, pull_spec=f"other/repository@{image}", position=0)
    told = {"image": image, "previous_image": event.image, "pull_spec": head.pull_spec}
    log.put(msgspec.structs.replace(event, head=head, **told))
