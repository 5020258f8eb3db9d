"""What fuzzing starts from: good inputs of each target, and those that once broke it.

They are kept in `found/TARGET/`; what broke one reader of events is in `found/event/` for all of them.
"""

from __future__ import annotations

from pathlib import Path

from tests import golden_log

FOUND = Path(__file__).parent / "found"
OF_EVENTS = ("event", "fold", "verify")
OF_JSON = (*OF_EVENTS, "command", "file")
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
    return [path.read_bytes() for path in sorted(golden_log.SAMPLES.iterdir())] + found
