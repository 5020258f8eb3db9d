"""Coverage-guided fuzzing of one target; an input that breaks it is left as `crash-...`, to be kept in `found/`.

    pip install -e '.[test,fuzz]'
    python -m tests.fuzz command -max_total_time=60

What follows the target goes to libFuzzer: options, and folders of inputs to start from. Without one it starts from
the samples, the golden log and what was found before.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris  # type: ignore[import-not-found,unused-ignore]  # an extra, for Linux on x86-64 only

with atheris.instrument_imports(include=["tagstack"]):
    from tests.fuzz.targets import TARGETS

from tests import golden_log

FOUND = Path(__file__).parent / "found"
FIRST = {
    "subject": [b"me.prod.api", b"ci%40x.a-b.a%2Eb", b"me._._"],
    "headers": [b"id\nid\nwhy\n2026-01-31T12:00:00Z\nfalse"],
    "name": [b"prod/api:v1", b"api@sha256:47463d", b"localhost:5000/a/b@sha256:47463d", b"2026-01-31T12:00:00+02:00"],
}


def seeds(target: str) -> list[bytes]:
    """Return inputs to start from."""
    if target in FIRST:
        return FIRST[target]
    if target in ("event", "fold"):
        return [record.body for version in golden_log.versions() for record in golden_log.log_of(version)]
    return [path.read_bytes() for path in sorted(golden_log.SAMPLES.iterdir())]


def main() -> None:
    """Fuzz the target that is named first."""
    target, *options = sys.argv[1:] or [""]
    if target not in TARGETS:
        raise SystemExit(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [libFuzzer's options]")
    with TemporaryDirectory() as corpus:
        kept = [path.read_bytes() for path in (FOUND / target).glob("*")]
        for number, seed in enumerate([*seeds(target), *kept]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *options, corpus], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
