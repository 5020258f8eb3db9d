"""Coverage-guided fuzzing of one target; an input that breaks it is left as `crash-...`, to be kept in `found/`.

    pip install -e '.[test,fuzz]'
    python -m tests.fuzz command -max_total_time=60

What follows the target goes to libFuzzer: options, and a folder for the inputs that reach new code.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris  # type: ignore[import-not-found,unused-ignore]  # an extra, for Linux on x86-64 only

with atheris.instrument_imports(include=["tagstack"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.inputs import OF_JSON, inputs
from tests.fuzz.mutation import changed


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Return another input for a target that reads JSON."""

    def as_bytes(part: bytes) -> bytes:
        return bytes(atheris.Mutate(part, max(len(part) + 20, 100)))

    return changed(data, random.Random(seed), as_bytes)[:size_max]


def main() -> None:
    """Fuzz the target that is named first."""
    target, *options = sys.argv[1:] or [""]
    if target not in TARGETS:
        raise SystemExit(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [libFuzzer's options]")
    with TemporaryDirectory() as corpus:
        for number, seed in enumerate(inputs(target)):
            (Path(corpus) / str(number)).write_bytes(seed)
        more = {"custom_mutator": mutate} if target in OF_JSON else {}
        atheris.Setup([sys.argv[0], *options, corpus], TARGETS[target], **more)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
