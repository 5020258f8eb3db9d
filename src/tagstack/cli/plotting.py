"""`--plot`: the timeline of a tag or an image stream as a file, SVG or PNG."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tagstack.cli.failures import UsageError
from tagstack.cli.output import say
from tagstack.cli.tables import Row

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.domain.names import ImageStreamName

_HOLDS = "FROM holds WHERE namespace = $1 AND image_stream = $2 AND (tag = $3 OR $3 = '')"


def check(path: Path) -> None:
    """Refuse a file that can't be drawn. Raises UsageError."""
    if path.suffix == ".png":
        _resvg()
    elif path.suffix != ".svg":
        raise UsageError(f"--plot: a timeline is written as .svg or .png, got {path}")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"--plot: there is no folder {path.parent}")


async def write(client: ServiceClient, path: Path, name: ImageStreamName, tag: str, rows: list[Row]) -> None:
    """Write the timeline of an image stream, or of one tag of it, and say where."""
    from datetime import UTC, datetime

    from tagstack.application.timeline import timeline

    holds = await _holds(client, name, tag)
    _save(path, timeline(f"{name}:{tag}" if tag else str(name), rows, holds, datetime.now(UTC)))
    say(str(path))


async def _holds(client: ServiceClient, name: ImageStreamName, tag: str) -> list[Row]:
    """Return the holds. Without the right to ask SQL the one of now has to do, which the project's queries tell."""
    from tagstack.adapters.nats_client import Answered
    from tagstack.cli.asking import all_rows
    from tagstack.domain.errors import Forbidden, Unavailable

    try:
        return await all_rows(client, _HOLDS, [name.namespace, name.name, tag])
    except (Answered, Forbidden, Unavailable):
        if not tag:
            raise
    try:
        hold = (await client.query(name.namespace, "ImageStreamTag", f"{name.name}:{tag}")).get("hold")
    except Answered:
        return []  # a deleted tag
    return [_row(tag, hold)] if hold else []


def _row(tag: str, hold: dict[str, Any]) -> Row:
    return {
        "tag": tag,
        "held_from": hold["since"],
        "held_to": None,
        "actor": hold["actor"],
        "reason": hold.get("reason", ""),
    }


def _save(path: Path, svg: str) -> None:
    data = svg.encode() if path.suffix == ".svg" else bytes(_resvg().svg_to_bytes(svg_string=svg, background="#ffffff"))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--plot: {path} can't be written: {error.strerror}") from error


def _resvg() -> ModuleType:
    try:
        return import_module("resvg_py")
    except ImportError as error:
        raise UsageError("--plot: PNG needs resvg-py: pip install 'tagstack[plot]', or write .svg") from error
