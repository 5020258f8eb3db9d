"""The sample history of the documentation: a story told in plain lines, decided by the real decider.

Times, digests and uids are fixed, so it is the same wherever and whenever it is told.
`python -m tests.sample_history` renews `docs/sample/`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from tagstack.adapters.duckdb_projections import builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.adapters.nats_subjects import event_subject
from tagstack.application.export import COLUMNS, ORDERS, relation_files
from tagstack.application.followers import Followers, Heard
from tagstack.application.grants import Grants
from tagstack.application.handler import CommandHandler, Surroundings
from tagstack.application.image_commands import NOWHERE
from tagstack.application.ports import Request, Stored
from tagstack.application.read_models import LogMessage
from tagstack.domain.events import TagEvent
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of
from tests.memory_log import MemoryLog

SAMPLE = Path(__file__).parent.parent / "docs" / "sample"
STORY = SAMPLE / "story.txt"
REGISTRY = "registry.example"
BUILD_TAKES = timedelta(minutes=4)
FOLLOWS_AFTER = timedelta(milliseconds=40)
OCI = "application/vnd.oci.image"
# what runs on which base: the first version of each program that was built on a newer one
BASES = {"api": {"1.0": "22.1", "1.3": "22.2", "1.5": "22.3", "2.0": "24.1"}}
BASES |= {"web": {"1.0": "22.1", "1.3": "22.3", "2.1": "24.1"}, "worker": {"1.0": "22.1", "1.3": "22.2"}}
EXPORTED = ("events", *ORDERS)
COMMANDS = {"api": ["/app/serve", "--port=8080"], "web": ["nginx", "-g", "daemon off;"], "worker": ["/app/work"]}


class Line(msgspec.Struct):
    """One line of the story."""

    time: datetime
    actor: str
    verb: str
    words: list[str]
    reason: str


def story() -> list[Line]:
    """Return the lines of the story."""
    lines = []
    for text in STORY.read_text().splitlines():
        if text and not text.startswith("#"):
            told, _, reason = text.partition(" | ")
            day, hour, actor, verb, *words = told.split()
            lines.append(Line(datetime.fromisoformat(f"{day}T{hour}:00+00:00"), actor, verb, words, reason))
    return lines


def digest(of: str) -> str:
    """Return a digest that is always the same for the same words."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def size(of: str, megabytes: int) -> int:
    """Return a number of bytes around `megabytes` that is always the same for the same words."""
    return megabytes * 1_000_000 + int(digest(of)[7:12], 16)


def base_of(name: str, version: str) -> str:
    """Return the version of the base image that a version of a program was built on."""
    known = BASES.get(name, {"0": "22.1"})
    return known[max(first for first in known if first <= version)]


def layers_of(name: str, version: str, architecture: str = "amd64") -> list[dict[str, Any]]:
    """Return the layers of an image: those of its base image first."""
    base = version if name == "base" else base_of(name, version)
    told = [(f"os-{base[:2]}-{architecture}", 28), (f"base-{base}-{architecture}", 9)]
    if name != "base":
        told += [(f"{name}-deps-{version[:3]}", 17), (f"{name}-{version}", 3)]
    layer = f"{OCI}.layer.v1.tar+gzip"
    return [{"name": digest(f"layer {of}"), "size": size(of, megabytes), "mediaType": layer} for of, megabytes in told]


def child_of(name: str, version: str, architecture: str, built: datetime) -> dict[str, Any]:
    """Return the body of one image for one architecture."""
    layers = layers_of(name, version, architecture)
    labels = {"org.opencontainers.image.version": version, "team": "platform" if name == "base" else "shop"}
    env = ["PATH=/usr/local/bin:/usr/bin", f"APP_VERSION={version}"]
    if name == "api":
        env.append(f"FEATURE_CART={'on' if version >= '1.2' else 'off'}")
    config = {"Labels": labels, "Env": env, "Cmd": COMMANDS.get(name, ["/bin/sh"])}
    if name != "base":
        config["Entrypoint"] = ["/usr/bin/tini", "--"]
    meta = {"kind": "DockerImage", "Architecture": architecture, "Os": "linux", "Created": text_of(built)}
    image = digest(f"{name}-{version}-{architecture}")
    return {
        "metadata": {"name": image},
        "dockerImageReference": f"{REGISTRY}/{name}@{image}",
        "dockerImageMetadata": meta | {"Config": config, "Size": sum(layer["size"] for layer in layers)},
        "dockerImageLayers": layers,
        "dockerImageManifestMediaType": f"{OCI}.manifest.v1+json",
    }


def list_of(name: str, children: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the body of a manifest list."""
    image = digest(json.dumps(children))
    told = {"mediaType": f"{OCI}.manifest.v1+json", "manifestSize": 741, "os": "linux"}
    return {
        "metadata": {"name": image},
        "dockerImageReference": f"{REGISTRY}/{name}@{image}",
        "dockerImageManifestMediaType": f"{OCI}.index.v1+json",
        "dockerImageManifests": [
            told | {"digest": child["metadata"]["name"], "architecture": child["dockerImageMetadata"]["Architecture"]}
            for child in children
        ],
    }


class Teller:
    """Tells the story to a command handler whose log is in memory, and moves followers as the real worker does."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self._clock = datetime.now(UTC)
        uids = count(1)
        around = Surroundings(
            lambda: text_of(self._clock), lambda: f"00000000-0000-4000-8000-{next(uids):012}", Grants()
        )
        self._handler = CommandHandler(self.log, around)
        self._followers = Followers(self.log, self._handler.follow)
        self._heard = 0

    async def tell(self, number: int, line: Line) -> None:
        """Carry out one line, and everything that follows from it."""
        self._clock = line.time
        for part, (target, body) in enumerate(commands_of(line)):
            suffix = f"-{part}" if part else ""
            request = Request(
                actor=line.actor,
                target=target,
                body=json.dumps(body).encode(),
                command_id=f"{line.actor}-{number:03}{suffix}",
                reason=line.reason,
            )
            await self._handler.handle(request)
        while self._heard < len(self.log.stored):
            position, event = self.log.stored[self._heard]
            self._heard += 1
            self._clock = line.time + FOLLOWS_AFTER
            if isinstance(event, TagEvent):
                heard = msgspec.convert(msgspec.to_builtins(event), Heard)
                self._followers.learn(position, heard)
                await self._followers.hear(position, heard)


def commands_of(line: Line) -> list[tuple[ImageStreamName, dict[str, Any]]]:
    """Return the commands that a line stands for, each with the image stream that it goes to."""
    match line.verb, line.words:
        case "push", [tag, image]:
            return push(tag, image, line.time - BUILD_TAKES)
        case "stream", [name, *labels]:
            metadata = {"labels": dict(label.split("=") for label in labels)}
            return [to(name, "ImageStream", spec={}, **metadata)]
        case "follow" | "alias", [source, tag]:
            follow = {"annotations": {"tagstack.dev/follow": "true"}} if line.verb == "follow" else {}
            return [to(tag, "ImageStreamTag", tag={"from": source_of(source), **follow})]
        case "promote", [source, tag]:
            return [to(tag, "PromoteTag", **{"from": source_of(source)})]
        case "rollback", [tag, *steps]:
            return [to(tag, "RollbackTag", to={"steps": int(steps[0]) if steps else 1})]
        case "hold", [tag]:
            return [to(tag, "HoldTag")]
        case "release", [tag, *advance]:
            return [to(tag, "ReleaseTag", advance=bool(advance))]
        case "delete", [name]:
            return [to(name, "DeleteImageStreamTag" if ":" in name else "DeleteImageStream")]
    raise AssertionError(f"no such line: {line}")


def push(tag: str, image: str, built: datetime) -> list[tuple[ImageStreamName, dict[str, Any]]]:
    """Return the mapping of an image to a tag; of a base image the children first."""
    name, _, version = image.partition("-")
    if name != "base":
        body, first = child_of(name, version, "arm64" if name == "worker" else "amd64", built), []
    else:
        children = [child_of(name, version, architecture, built) for architecture in ("amd64", "arm64")]
        body, first = list_of(name, children), [(NOWHERE, {"kind": "Image", **child}) for child in children]
    target, mapping = to(tag, "ImageStreamMapping", image=body, tag=tag.partition(":")[2])
    mapping["metadata"]["name"] = target.name
    return [*first, (target, mapping)]


def to(
    name: str, kind: str, labels: dict[str, str] | None = None, **body: Any
) -> tuple[ImageStreamName, dict[str, Any]]:
    """Return a command on an image stream or a tag, and the image stream that it goes to."""
    namespace, _, rest = name.partition("/")
    metadata = {"name": rest} | ({"labels": labels} if labels else {})
    return ImageStreamName(namespace, rest.partition(":")[0]), {"kind": kind, "metadata": metadata, **body}


def source_of(tag: str) -> dict[str, str]:
    """Return a reference to a tag."""
    namespace, _, name = tag.partition("/")
    return {"kind": "ImageStreamTag", "namespace": namespace, "name": name}


def history() -> list[Stored]:
    """Return the whole log of the story."""

    async def tell() -> list[Stored]:
        teller = Teller()
        for number, line in enumerate(story(), 1):
            await teller.tell(number, line)
        return teller.log.stored

    return asyncio.run(tell())


def messages(stored: Sequence[Stored]) -> list[LogMessage]:
    """Return a history as the log hands it out."""
    return [
        LogMessage(position, event_subject(event), msgspec.json.encode(event), event.cause)
        for position, event in stored
    ]


def folded(path: Path = Path(":memory:")) -> ReadModelFile:
    """Return read models that hold the story."""
    models = ReadModelFile(path, discover([builtin_folder()]))
    models.fold(messages(history()), "sample")
    return models


def export(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write every relation of the read models to a Parquet file of its own, as an export has it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {file.path: file.sql for file in relation_files(con.execute(COLUMNS).fetchall(), 0)}
    files["events.parquet"] = "SELECT * REPLACE (data::VARCHAR AS data) FROM events ORDER BY position"
    for name, sql in files.items():
        con.execute(f"COPY ({sql}) TO '{folder / name}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    export(folded().connection, SAMPLE)
