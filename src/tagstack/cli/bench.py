"""`tagstack bench`: how fast this machine is, beside the raw baselines of the same run."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

from tagstack.cli.options import Flag, Output
from tagstack.cli.output import print_object, say
from tagstack.cli.tables import table

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tagstack.bench.figures import Row
    from tagstack.bench.sizes import Sizes


def bench(
    *,
    full: Annotated[bool, Flag] = False,
    output: Output = Output(),  # noqa: B008  frozen
) -> None:
    """The speed on this machine, on a server and in a folder of its own that are gone afterwards.

    A ratio is the median of figures taken in turns with their baselines; an aim is for the ratio where
    there is one. What was measured is printed after Ctrl-C, too.

    Parameters
    ----------
    full
        all of it, in more and larger runs, which take half an hour; the default takes a minute or two
    """
    from tagstack.bench.sizes import FULL, Sizes

    rows: list[Row] = []
    try:
        _run(_measure(FULL if full else Sizes(), rows))
    finally:
        if rows:
            show(rows, output.format)


def show(rows: list[Row], form: str) -> None:
    """Print the rows."""
    if form in ("json", "yaml"):
        import msgspec

        print_object(msgspec.to_builtins(rows), form)
        return
    columns = ["FIGURE", "VALUE", "UNIT", "BASELINE", "RATIO", "AIM", ""]
    table(columns, [_line(row) for row in rows])
    say("1/s: more is better; ms, s and MB: less. The baseline of each figure is explained in docs/performance.md.")


def _run(measuring: Coroutine[Any, Any, None]) -> None:
    if sys.platform == "win32":
        asyncio.run(measuring)
        return
    import uvloop

    uvloop.run(measuring)


async def _measure(sizes: Sizes, rows: list[Row]) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from tagstack.bench.run import run

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting")

        def begun(name: str, number: int, total: int) -> None:
            bar.update(task, description=name, completed=number, total=total)

        async for row in run(sizes, begun):
            rows.append(row)  # noqa: PERF401  an async generator that has to be closed here


def _line(row: Row) -> list[Any]:
    aim = "" if row.aim is None else f"{'>=' if row.better == 'higher' else '<='} {row.aim:g}"
    reached = {True: "yes", False: "no", None: ""}[row.reached]
    return [row.name, f"{row.value:g}", row.unit, row.baseline, row.ratio, aim, reached]
