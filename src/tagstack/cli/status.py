"""`tagstack status` and `rebuild`: how far everything is, and building the read models again.

The projector is asked on its control subject; what it answers is drawn in `apps/projector.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from tagstack.cli import session
from tagstack.cli.failures import DONE, REFUSED, UNREACHABLE, complain
from tagstack.cli.options import Connection, Flag, Output
from tagstack.cli.output import on_terminal, print_object, say
from tagstack.cli.tables import table

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

CONTROL = "tagstack.control.projector"
POLL_INTERVAL_S = 0.1
CHECK_TIMEOUT_S = 300.0
IN_WORK = ("rebuilding", "compacting", "compactionWaits")
QUIET_POLLS_MAX = 5  # so often "not rebuilding" after the request means that it is over

State = dict[str, Any]


def status(
    *,
    check: Annotated[bool, Flag] = False,
    connection: Connection = Connection(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """Positions, lag, streams and dead letters.

    Parameters
    ----------
    check
        run the checks of every read model; exit 1 where one complains
    """
    return session.run(connection, lambda client: _status(client, output.format, check=check))


async def _status(client: ServiceClient, form: str, *, check: bool) -> int:
    from tagstack.adapters.nats_streams import DEAD_STREAM, EVENTS_STREAM, QUEUE_STREAM, TAGS_STREAM
    from tagstack.domain.errors import Unavailable

    names = (EVENTS_STREAM, TAGS_STREAM, QUEUE_STREAM, DEAD_STREAM)
    streams = {name: (await client.jetstream(f"STREAM.INFO.{name}"))["state"] for name in names}
    trouble, state = "", State()
    try:
        state = await _ask(client, {"check": True} if check else {})
        trouble = str(state.get("trouble") or "")
    except Unavailable:
        trouble = "the projector does not answer: read models stand still"
    dead = (int(streams[DEAD_STREAM]["messages"]), int(state.get("deadLetters", 0)))
    log = int(streams[EVENTS_STREAM]["last_seq"])
    found: State = {"log": {"position": log}, "readModels": _read_models(state, log), "deadLetters": sum(dead)}
    found |= {name: state[name] for name in IN_WORK if state.get(name) not in (None, "")}
    complaints = state.get("complaints") or []
    if check:
        found["complaints"] = complaints
    if form in ("json", "yaml"):
        print_object(found, form)
    elif form == "name":
        for model in found["readModels"]:
            say(model["name"])
    else:
        _tell(found | {"unsorted": state.get("unsorted")}, streams, dead)
        if check and not complaints and not trouble:
            say("")
            say("the checks of every read model pass")
    for one in complaints:
        complain(f"{one['readModel']}: {one['complaint']}: {one['detail']}")
    if trouble:
        complain(trouble)
    return UNREACHABLE if trouble else REFUSED if check and complaints else DONE


def _read_models(state: State, log: int) -> list[State]:
    """Return how far readers see each read model."""
    shown = int(state.get("snapshot", 0))
    found = []
    for model in state.get("readModels", ()):
        position = min(int(model["position"]), shown)
        found.append({"name": model["name"], "position": position, "lag": max(log - position, 0)})
    return found


def _tell(found: State, streams: dict[str, State], dead: tuple[int, int]) -> None:
    say(f"log position {found['log']['position']}")
    say(f"dead letters {dead[0]} in the queue, {dead[1]} in the log")
    if building := found.get("rebuilding"):
        say(f"read models are being built, at position {building['position']} of {building['log']}")
    if found["unsorted"] is not None:
        say(_order(found))
    say("")
    models = ((model["name"], model["position"], model["lag"]) for model in found["readModels"])
    table(("READ MODEL", "POSITION", "LAG"), models)
    say("")
    rows = ((name, state["messages"], state["bytes"], state["last_seq"]) for name, state in streams.items())
    table(("STREAM", "MESSAGES", "BYTES", "LAST"), rows)


def _order(found: State) -> str:
    """Return how much of the read models is not sorted, and what is being done about it."""
    told = f"unsorted events {found['unsorted']}"
    if compacting := found.get("compacting"):
        return f"{told}; a copy is being sorted, at position {compacting['position']} of {compacting['log']}"
    if waits := found.get("compactionWaits"):
        return f"{told}; they stay so, and lookups slower: {waits}"
    return told


async def _ask(client: ServiceClient, request: State) -> State:
    """Return the projector's state. Raises Unavailable where it does not answer."""
    timeout_s = CHECK_TIMEOUT_S if request.get("check") else 0
    reply = await client.request(CONTROL, json.dumps(request).encode(), {}, timeout_s)
    state: State = json.loads(reply.data)
    return state


def rebuild(
    *,
    no_wait: Annotated[bool, Flag] = False,
    connection: Connection = Connection(),  # noqa: B008  frozen
) -> int | None:
    """Build the read models from the log again, with no downtime: readers see the old ones until the switch.

    Parameters
    ----------
    no_wait
        don't wait until it is done
    """
    return session.run(connection, lambda client: _rebuild(client, wait=not no_wait))


async def _rebuild(client: ServiceClient, *, wait: bool) -> int:
    state = await _ask(client, {"rebuild": True})
    if "error" in state:
        complain(str(state["error"]))
        return REFUSED
    if not wait:
        say("rebuilding")
        return DONE
    try:
        state = await _finished(client, state, shown=on_terminal())
    except asyncio.CancelledError:
        say("the rebuild goes on without you; `tagstack status` tells how far it is")
        raise
    if trouble := state.get("trouble"):
        complain(str(trouble))
        return REFUSED
    say(f"rebuilt at position {state['position']}")
    return DONE


async def _finished(client: ServiceClient, state: State, *, shown: bool) -> State:
    """Return the projector's state after the rebuild; a bar tells people how far it is."""
    from rich.progress import Progress

    with Progress(transient=True, disable=not shown) as bar:
        task = bar.add_task("rebuilding", total=max(1, int(state["log"])))
        async for state in _progress(client):
            if building := state.get("rebuilding"):
                bar.update(task, **_shown(building))
    return state


def _shown(building: State) -> dict[str, Any]:
    """Return what the bar shows: how far the log is read, then how far each table is sorted."""
    if table := building.get("sorting"):
        return {"description": f"sorting {table}", "completed": building["sorted"], "total": 1}
    total = max(1, int(building["log"]))
    return {"description": "rebuilding", "completed": int(building["position"]), "total": total}


async def _progress(client: ServiceClient) -> AsyncIterator[State]:
    """Yield the projector's state until the rebuild is over; what the user waits for has no other bound."""
    quiet, seen = 0, False
    while True:
        await asyncio.sleep(POLL_INTERVAL_S)
        state = await _ask(client, {})
        yield state
        if state.get("rebuilding"):
            seen, quiet = True, 0
        else:
            quiet += 1
        if quiet and (seen or quiet >= QUIET_POLLS_MAX):
            return
