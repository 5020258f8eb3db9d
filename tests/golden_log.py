"""The logs that every version has written, kept for ever, and what they have to mean.

`tests/golden/log/vN.jsonl` has a log as version N stored it, one message a line, and is never written again;
`vN.expected.json` has every relation and the decider's state of every image stream, `vN.schemas.json` what
tells the form of each event from another one.
`python -m tests.golden_log` adds what the present version lacks, and renews what logs mean today: look at the diff.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from nats.aio.client import Client

from tagstack.adapters.backup_files import line_of, record_of
from tagstack.adapters.nats_log import NatsLog
from tagstack.adapters.nats_server import NatsServer
from tagstack.adapters.nats_streams import declare
from tagstack.application.export import ORDERS
from tagstack.application.records import Record
from tagstack.apps import schemas
from tagstack.cli.documents import read_documents
from tagstack.domain.events import EVENT_VERSION
from tagstack.domain.names import ImageStreamName
from tests.logs import (
    Json,
    about,
    ask,
    connected,
    digest,
    do_everything,
    everything,
    mapping,
    service,
    shown,
    tagging,
    worker,
)

GOLDEN = Path(__file__).parent / "golden" / "log"
SAMPLES = Path(__file__).parent / "samples"
TOLD_ONLY = ("title", "description")  # of a schema: words, which change no event


def versions() -> list[int]:
    """Return every version that has written a log."""
    return sorted(int(path.stem.removeprefix("v")) for path in GOLDEN.glob("v*.jsonl"))


def log_of(version: int) -> list[Record]:
    """Return the log that a version wrote."""
    return [record_of(line) for line in (GOLDEN / f"v{version}.jsonl").read_bytes().splitlines()]


def kept(version: int, what: str) -> Json:
    """Return what is `expected` of a version's log, or the `schemas` of its events."""
    found: Json = json.loads((GOLDEN / f"v{version}.{what}.json").read_bytes())
    return found


def fingerprints() -> dict[str, str]:
    """Return what tells the form of each event from any other one."""
    events = {name: schema for name, schema in schemas.schemas().items() if name.startswith("events/")}
    texts = {name.removeprefix("events/"): json.dumps(_form(schema)) for name, schema in events.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in sorted(texts.items())}


def _form(schema: Any) -> Any:
    if isinstance(schema, dict):
        told = {key for key in TOLD_ONLY if isinstance(schema.get(key), str)}
        return {key: _form(value) for key, value in sorted(schema.items()) if key not in told}
    return [_form(each) for each in schema] if isinstance(schema, list) else schema


async def replay(url: str, home: Path, log: list[Record]) -> Json:
    """Store a log on an empty server, message by message, and return what it means to those who read it."""
    async with connected(url) as client:
        await declare(client)
        for record in log:
            headers = record.own_headers or None
            ack = await client.jetstream().publish(record.subject, record.body, headers=headers)
            assert ack.seq == record.position
        states = await _states(client, log)
    async with service(url, home) as client:
        relations = _relations(await shown(client, home / "live" / "tagstack.duckdb"))
        assert len(await everything(client)) == len(log), "who reads a log does not write into it"
    return {"relations": relations, "states": states}


async def _states(client: Client, log: list[Record]) -> Json:
    """Return the decider's state of every image stream."""
    reader = await NatsLog(client).start()
    names = sorted({tuple(record.subject.split(".")[2:4]) for record in log if record.subject.startswith("tagstack.e")})
    states = [await reader.load(ImageStreamName(namespace, name)) for namespace, name in names]
    found: Json = json.loads(msgspec.json.encode({f"{state.name}": state for state in states}))
    return found


def _relations(snapshot: Path) -> Json:
    """Return the rows of every relation, their values as text."""
    found = {}
    with duckdb.connect(str(snapshot), read_only=True) as con:
        for name, order in {"events": "position", "dead_letters": "position", **ORDERS}.items():
            rows = con.execute(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (FROM {name} ORDER BY {order})")
            columns = [column[0] for column in rows.description]
            found[name] = [dict(zip(columns, row, strict=True)) for row in rows.fetchall()]
    return found


async def _write(client: Client) -> None:
    """Let the present version store events of every kind, with all that they can carry."""
    await do_everything(client)
    for path in sorted(SAMPLES.iterdir()):
        for command in read_documents(str(path)):
            await ask(client, _target(command), command)
    follow = {"annotations": {"tagstack.dev/follow": "true"}}
    await ask(client, "prod.site", tagging("site:base", "ImageStreamTag", "live:now", **follow))
    await ask(client, "prod.live", mapping("live", 7, "now"))
    while b'"causedBy":null' in (await everything(client))[-1].body:
        continue  # the follower moves by a command of its own
    for kind in ("HoldTag", "ReleaseTag", "HoldTag"):
        await ask(client, "prod.live", about(kind, "live:now"), **{"Tagstack-Reason": "looked at"})
    await ask(client, "prod.live", mapping("live", 8, "now"))  # withheld
    signature = about("ImageSignature", f"{digest(1)}@release", type="atomic", content="c2ln")
    await ask(client, "_._", signature)


def _target(command: Json) -> str:
    metadata = command["metadata"]
    return f"{metadata['namespace']}.{metadata['name']}" if "namespace" in metadata else "_._"


async def _new_log(folder: Path) -> list[Record]:
    server = NatsServer(folder).start()
    try:
        async with worker(server.url) as client:
            await _write(client)
            return await everything(client)
    finally:
        server.stop()


def _renew(folder: Path) -> None:
    log = GOLDEN / f"v{EVENT_VERSION}.jsonl"
    if not log.exists():
        log.write_bytes(b"".join(map(line_of, asyncio.run(_new_log(folder / "written")))))
        _keep(EVENT_VERSION, "schemas", fingerprints())
    for version in versions():
        server = NatsServer(folder / f"v{version}").start()
        try:
            found = asyncio.run(replay(server.url, folder / f"home{version}", log_of(version)))
        finally:
            server.stop()
        _keep(version, "expected", found)


def _keep(version: int, what: str, found: Json) -> None:
    (GOLDEN / f"v{version}.{what}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _renew(Path(folder))
