"""Measures the fold as explicit statements beside the fold as SQL triggers: `python benchmarks/triggers.py [RUNS]`.

Both ways fill the real tables of `current_tags` and `tag_changes` from the same messages by the same program;
only the SQL differs. Runs take turns; the table shows medians. At the end both must hold the same rows.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tagstack.adapters.duckdb_opening import FileOptions
from tagstack.adapters.duckdb_projections import ReadModel, builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.application.read_models import LogMessage
from tagstack.domain.events import ImageTagged, TagDeleted
from tagstack.domain.values import Head

SIZES = {1: 200, 100: 10_000, 1_000: 40_000, 20_000: 100_000}  # batch: events
IMAGE_STREAMS = 1_000
DELETED_EVERY = 50
RUNS = 3
TABLES = ("events", "current_tags", "tag_moves", "tag_changes")
READ_MODELS = ("events", "current_tags", "tag_changes")
TRIGGERS = Path(__file__).with_name("triggers.sql")


def as_statements() -> list[ReadModel]:
    """Return the read models as they are."""
    known = {model.name: model for model in discover([builtin_folder()])}
    return [msgspec.structs.replace(known[name], build="", views="", checks="") for name in READ_MODELS]


def as_triggers() -> list[ReadModel]:
    """Return the same tables, filled by triggers on `events`."""
    events, *others = as_statements()
    *others, last = [msgspec.structs.replace(model, apply="") for model in others]
    return [events, *others, msgspec.structs.replace(last, schema=last.schema + TRIGGERS.read_text())]


def messages(count: int) -> list[LogMessage]:
    """Return pushes to one tag of each image stream in turn, some of them deletes."""
    found, heads = list[LogMessage](), dict[str, str | None]()
    for position in range(1, count + 1):
        name = f"app{position % IMAGE_STREAMS}"
        moment = f"2026-01-01T{position // 3600 % 24:02}:{position // 60 % 60:02}:{position % 60:02}.000000Z"
        deleted = position % DELETED_EVERY == 0
        image = None if deleted else f"sha256:{position:064x}"
        spec = f"registry.example/{name}@{image}"
        told = {"generation": 1, "actor": "ci", "origin": "mapping", "cause": f"build-{position}"}
        head = None if image is None else Head(image=image, pull_spec=spec, since=moment, **told)
        place = {"namespace": "bench", "image_stream": name, "tag": "latest", "uid": "uid"}
        moved = {"image": image, "previous_image": heads.get(name), "pull_spec": image and spec, "head": head}
        told |= {"time": moment, "number": 1, "reason": "", "caused_by": None, "last": True, "version": 1}
        event = (TagDeleted if deleted else ImageTagged)(**told, **place, **moved, spec=None, hold=None)
        heads[name] = image
        found.append(LogMessage(position, "", msgspec.json.encode(event), f"id-{position}"))
    return found


def fold(path: Path, models: Sequence[ReadModel], log: list[LogMessage], size: int) -> float:
    """Return events per second, in batches of `size`."""
    file = ReadModelFile(path, models, FileOptions(building=True))
    began = time.perf_counter()
    for start in range(0, len(log), size):
        file.fold(log[start : start + size], "log")
    rate = len(log) / (time.perf_counter() - began)
    assert file.dead_letters == 0
    file.close()
    return rate


def differences(one: Path, other: Path) -> int:
    """Return how many rows are in one file and not in the other."""
    models = ReadModelFile(one, as_statements())
    models.connection.execute(f"ATTACH '{other}' AS other (READ_ONLY)")
    found = 0
    for table in TABLES:
        for mine, theirs in ((table, f"other.{table}"), (f"other.{table}", table)):
            rows = models.connection.execute(f"SELECT count(*) FROM (FROM {mine} EXCEPT ALL FROM {theirs})")  # noqa: S608 names from above
            found += rows.fetchall()[0][0]
    models.close()
    return found


def main(runs: int) -> None:
    """Print a table of both ways for each size of a batch."""
    ways = {"statements": as_statements(), "triggers": as_triggers()}
    print(f"| events per batch | {' | '.join(f'{way}, events/s' for way in ways)} | triggers / statements |")
    print("|---|---|---|---|")
    for size, count in SIZES.items():
        log = messages(count)
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                for way, models in ways.items():
                    rates[way].append(fold(Path(folder) / way, models, log, size))
                assert differences(*(Path(folder) / way for way in ways)) == 0
        medians = [f"{statistics.median(found):,.0f}" for found in rates.values()]
        ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
        print(f"| {size:,} | {' | '.join(medians)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
