"""Small builders of what tests speak about: images, commands, states, and what a command leads to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tagstack.application.grants import Grants
from tagstack.application.lookups import Lookups
from tagstack.domain.changes import Context
from tagstack.domain.commands import AnyCommand
from tagstack.domain.decider import Decision, decide, target_of
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.lookups import required
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of
from tagstack.domain.wire import read_command
from tests.memory_log import MemoryLog

SAMPLES = Path(__file__).parent / "samples"
NAME = ImageStreamName("test", "app")
REGISTRY = "172.30.56.218:5000"


def digest(of: str) -> str:
    """Return a digest that is always the same for the same word."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def pull_spec(image: str, repository: str = "test/app") -> str:
    """Return the pull spec of an image in the internal registry."""
    return f"{REGISTRY}/{repository}@{image}"


def mapping(tag: str, of: str, **more: Any) -> dict[str, Any]:
    """Return the body of a push of image `of` to a tag of `app`."""
    image = digest(of)
    posted = {"metadata": {"name": image}, "dockerImageReference": pull_spec(image)}
    return {"kind": "ImageStreamMapping", "metadata": {"name": "app"}, "image": posted, "tag": tag} | more


def tag_of(tag: str, source: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """Return the body that sets the spec of a tag of `app`."""
    about = {} if source is None else {"from": source}
    return {"kind": "ImageStreamTag", "metadata": {"name": f"app:{tag}"}, "tag": about | more}


def alias(source: str) -> dict[str, Any]:
    """Return a reference to a tag."""
    return {"kind": "ImageStreamTag", "name": source}


def on(kind: str, tag: str, **more: Any) -> dict[str, Any]:
    """Return the body of a command on a tag of `app`."""
    return {"kind": kind, "metadata": {"name": f"app:{tag}"}} | more


def rollback(tag: str, hold: bool = True, **to: Any) -> dict[str, Any]:
    """Return the body of a rollback."""
    return on("RollbackTag", tag, to=to, hold=hold)


def image_stream(tags: dict[str, dict[str, Any]] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return the body of the image stream `app`."""
    listed = [{"name": name, **tag} for name, tag in (tags or {}).items()]
    return {"kind": "ImageStream", "metadata": {"name": "app"} | metadata, "spec": {"tags": listed}}


def command(body: dict[str, Any]) -> AnyCommand:
    """Return the command in a body, checked."""
    return read_command(msgspec.json.encode(body))


def sample(name: str) -> dict[str, Any]:
    """Return a stored example of what a registry posts."""
    text = (SAMPLES / name).read_text()
    read = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    found: dict[str, Any] = msgspec.to_builtins(read)  # YAML has times of its own
    return found


class Story:
    """Decides bodies one after another, each a second after the one before, on a log in memory."""

    def __init__(self, *bodies: dict[str, Any], actor: str = "alice") -> None:
        self.log = MemoryLog()
        self.actor = actor
        self.second = 0
        for body in bodies:
            self.do(body)

    def decide(self, body: dict[str, Any], reason: str = "", **context: Any) -> Decision:
        """Return what a body leads to, without storing it."""
        asked = command(body)
        name = ImageStreamName("test", target_of(asked)[0])
        state = self.state(name.name)
        facts = asyncio.run(Lookups(self.log, Grants()).fetch(required(asked, state), state, self.actor))
        about = {"now": self.now(), "uid": f"uid-{self.second}"} | context
        return decide(asked, state, Context(actor=self.actor, cause=f"c{self.second}", reason=reason, **about), facts)

    def do(self, body: dict[str, Any], reason: str = "", **context: Any) -> list[Any]:
        """Store what a body leads to and return the image stream's events."""
        self.second += 1
        decision = self.decide(body, reason, **context)
        if decision.image is not None and asyncio.run(self.log.image(decision.image.image)) is None:
            self.log.put(decision.image)
        self.log.put(*decision.events)
        return decision.events

    def now(self) -> str:
        """Return the story's time."""
        return at(self.second)

    def state(self, name: str = "app") -> ImageStream:
        """Return an image stream as the log's last word tells it."""
        return asyncio.run(self.log.load(ImageStreamName("test", name)))

    def head(self, tag: str) -> str | None:
        """Return the image a tag of `app` points at."""
        head = self.state().tag(tag).head
        return head.image if head else None


def at(second: int) -> str:
    """Return the time a number of seconds after the stories begin."""
    return text_of(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second))
