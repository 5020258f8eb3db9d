"""What fuzzing starts from: good inputs of each target, and those that once broke it.

They are kept in `found/TARGET/`; what broke one reader of events is in `found/event/` for all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests import golden_log
from tests.logs import Json, about, digest, mapping, tagging

FOUND = Path(__file__).parent / "found"
OF_EVENTS = ("event", "fold", "verify")
OF_COMMANDS = ("command", "stored", "file")
OF_JSON = (*OF_EVENTS, *OF_COMMANDS)
COMMANDS: list[Json] = [
    mapping("app", 9),
    tagging("app:new", "ImageStreamTag", "latest", annotations={"a": "b"}),
    tagging("app:outside", "DockerImage", "r.example/a/b:c", importPolicy={"scheduled": True}),
    tagging("app:pinned", "ImageStreamImage", f"app@{digest(2)}", referencePolicy={"type": "Local"}),
    {"kind": "ImageStream", "metadata": {"name": "app", "labels": {"a": "b"}}, "spec": {"tags": [{"name": "x"}]}},
    about("RollbackTag", "app:latest", to={"steps": 1}, hold=False),
    about("RollbackTag", "app:latest", to={"time": "2026-11-28T12:00:00Z"}),
    about("HoldTag", "app:latest", expectedImage=digest(4)),
    about("ReleaseTag", "app:latest", advance=True),
    about("PromoteTag", "app:now", **{"from": {"namespace": "prod", "name": "app:latest"}}),
    about("DeleteImageStreamTag", "app:latest", force=True),
    about("DeleteImageStream", "app"),
    about("ImageSignature", f"{digest(1)}@release", type="atomic", content="c2ln"),
    {"kind": "ImageAnnotations", "metadata": {"name": digest(1), "annotations": {"scan": "clean"}}},
]
FIRST = {
    "subject": [b"me.prod.api", b"ci%40x.a-b.a%2Eb", b"me._._"],
    "headers": [b"id\nid\nwhy\n2026-01-31T12:00:00Z\nfalse"],
    "name": [b"prod/api:v1", b"api@sha256:47463d", b"localhost:5000/a/b@sha256:47463d", b"2026-01-31T12:00:00+02:00"],
}


def inputs(target: str) -> list[bytes]:
    """Return the inputs of a target to start from."""
    folder = FOUND / ("event" if target in OF_EVENTS else target)
    found = [path.read_bytes() for path in sorted(folder.glob("*"))]
    if target in FIRST:
        return FIRST[target] + found
    if target in OF_EVENTS:
        return [record.body for version in golden_log.versions() for record in golden_log.log_of(version)] + found
    samples = [path.read_bytes() for path in sorted(golden_log.SAMPLES.iterdir())]
    return samples + [json.dumps(command).encode() for command in COMMANDS] + found
