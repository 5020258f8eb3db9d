"""`tagstack history`, `log`, `as-of`: what happened, and how things were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tagstack.cli import plotting, references, session
from tagstack.cli.failures import UsageError
from tagstack.cli.options import DEFAULT_NAMESPACE, Output, Project
from tagstack.cli.output import say, seconds, short
from tagstack.cli.tables import Relation, Row

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

_TAG = "{namespace}/{image_stream}:{tag}"
_ENTRY = ("stack_position", "image", "valid_from", "valid_to", "origin", "actor", "reason")
_ENTRY_WIDE = (*_ENTRY, "pull_spec", "generation", "cause", "caused_by", "restores", "deleted", "position")
_EVENT = ("position", "time", "type", "subject", "image", "actor", "reason")
_EVENT_WIDE = (*_EVENT, "previous_image", "pull_spec", "generation", "origin", "cause", "caused_by")
_CURRENT = ("namespace", "image_stream", "tag", "image", "since", "actor", "reason", "held_by")
_CURRENT_WIDE = (*_CURRENT, "hold_reason", "held_since", "origin", "pull_spec", "generation", "moves", "position")

TAG_HISTORY = Relation(_ENTRY, _ENTRY_WIDE, _TAG + "@{image}", ("valid_to", "origin"))
TAGS_HISTORY = Relation(("tag", *_ENTRY), ("tag", *_ENTRY_WIDE), _TAG + "@{image}", ("valid_to", "origin"))
EVENTS = Relation(_EVENT, _EVENT_WIDE, "{position}", ("image", "type"))
TAGS = Relation(_CURRENT, _CURRENT_WIDE, _TAG, ("held_by", "actor"))

_OF_IMAGE_STREAM = "FROM tag_history WHERE namespace = $1 AND image_stream = $2 ORDER BY tag, stack_position"


def history(
    ref: str,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
    plot: Path | None = None,
) -> int | None:
    """Every image a tag ever pointed at, newest first; deletes included.

    Parameters
    ----------
    ref
        the tag, [NAMESPACE/]STREAM:TAG, or an image stream for all of its tags
    plot
        draw a timeline into this file, .svg or .png, and print no table
    """
    if plot is not None:
        plotting.check(plot)
    if references.is_tag_reference(ref):
        name = references.tag_name(ref, project.default_namespace)
        stream, tag = name.image_stream, f"{name.image_stream.name}:{name.tag}"
    else:
        stream, tag = references.image_stream_name(ref, project.default_namespace), ""

    async def found(client: ServiceClient) -> list[Row]:
        if not tag:
            return await _of_image_stream(client, stream.namespace, stream.name)
        return await client.items(stream.namespace, "History", name=tag)

    async def work(client: ServiceClient) -> None:
        if plot is not None:
            await plotting.write(client, plot, stream, tag.partition(":")[2], await found(client))
        elif tag:
            rows = await found(client)
            TAG_HISTORY.print(rows, output.format)
            if output.format in ("table", "wide"):
                await _tell_hold(client, stream.namespace, tag, rows)
        else:
            TAGS_HISTORY.print(await found(client), output.format)

    return session.run(project, work)


async def _of_image_stream(client: ServiceClient, namespace: str, name: str) -> list[Row]:
    from tagstack.cli.asking import all_rows
    from tagstack.domain.errors import NotFound

    rows = await all_rows(client, _OF_IMAGE_STREAM, [namespace, name])
    if not rows:
        raise NotFound.of("imagestreams", name)
    return rows


async def _tell_hold(client: ServiceClient, namespace: str, tag: str, rows: list[Row]) -> None:
    from tagstack.adapters.nats_client import Answered

    if rows and rows[0].get("deleted"):
        say(f"deleted {seconds(rows[0]['deleted'])}")
        return
    try:
        hold = (await client.query(namespace, "ImageStreamTag", tag)).get("hold")
    except Answered:
        return
    if hold:
        say(hold_line(hold), style="yellow")


def hold_line(hold: dict[str, Any]) -> str:
    """Return who holds a tag, since when, why, and what was withheld."""
    told = f"held by {hold['actor']} since {seconds(hold['since'])}"
    if hold.get("reason"):
        told += f": {hold['reason']}"
    if withheld := hold.get("withheld"):
        told += f"; withheld {hold.get('withheldCount', 1)}, the newest {short(withheld.get('image'))}"
    return told


def log(
    scope: str | None = None,
    /,
    *,
    limit: Annotated[int | None, Parameter(name=["--limit", "-l"])] = None,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """The events, oldest first: who did what, when, why.

    Parameters
    ----------
    scope
        NAMESPACE, NAMESPACE/STREAM or NAMESPACE/STREAM:TAG; everything without it, or -n NAMESPACE
    limit
        the last so many only
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    condition, params = _scope(scope, project.given_namespace)
    bound = "" if limit is None else f"LIMIT {limit}"
    # the newest first for the bound, then back into order; {condition} is one of a few fixed texts
    sql = f"FROM (FROM events WHERE {condition} ORDER BY position DESC {bound}) ORDER BY position"

    async def work(client: ServiceClient) -> None:
        from tagstack.cli.asking import rows_of
        from tagstack.domain.errors import NotFound

        printer, count = EVENTS.printer(output.format), 0
        async for row in rows_of(client, sql, params):
            printer.add(row if output.format in ("json", "yaml") else row | _shown(row))
            count += 1
        if not count and len(params) > 1:
            raise NotFound.of("imagestreamtags" if params[2:] else "imagestreams", ":".join(params[1:]))
        printer.end()

    return session.run(project, work)


def _shown(row: Row) -> Row:
    """Return the cells of an event's line that are not columns of the relation."""
    shown = {"subject": subject_of(row)}
    if row["type"] == "push_withheld":  # what was pushed says more than what the tag still points at
        shown["image"] = row["data"]["hold"]["withheld"]["image"]
    return shown


def subject_of(row: Row) -> str:
    """Return what an event is about, as people write it."""
    if not row.get("namespace"):
        return short(row.get("image"))
    tag = f":{row['tag']}" if row.get("tag") else ""
    return f"{row['namespace']}/{row['image_stream']}{tag}"


def _scope(scope: str | None, namespace: str) -> tuple[str, list[str]]:
    """Return the condition of `NS[/STREAM[:TAG]]` and its parameters."""
    if scope is None:
        return ("namespace = $1", [namespace]) if namespace else ("true", [])
    if references.is_tag_reference(scope):
        name = references.tag_name(scope, namespace or DEFAULT_NAMESPACE)
        stream = name.image_stream
        return "namespace = $1 AND image_stream = $2 AND tag = $3", [stream.namespace, stream.name, name.tag]
    if "/" in scope:
        stream = references.image_stream_name(scope, "")
        return "namespace = $1 AND image_stream = $2", [stream.namespace, stream.name]
    return "namespace = $1", [scope]


def as_of(
    time: str,
    project_name: Annotated[str | None, Parameter(name="NAMESPACE")] = None,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """The tags as they were at a time, holds and pull specs included.

    Parameters
    ----------
    time
        RFC 3339 (UTC without a zone), a date, `now`, or an age such as 90s, 15m, 2h, 7d
    project_name
        one project only; every one without it
    """
    moment = references.moment(time)
    namespace = project_name or project.given_namespace

    async def work(client: ServiceClient) -> None:
        TAGS.print(await rows_at(client, moment, namespace), output.format)

    return session.run(project, work)


async def rows_at(client: ServiceClient, moment: str, namespace: str) -> list[Row]:
    """Return the tags of a project, or of every one for "", as they were.

    SQL is a right over the whole cluster; who has it not, or meets no SQL worker, may still ask for a project.
    """
    from tagstack.adapters.nats_client import Answered
    from tagstack.cli.asking import all_rows
    from tagstack.domain.errors import Forbidden, Unavailable

    where, params = (" WHERE namespace = $2", [namespace]) if namespace else ("", [])
    sql = f"FROM tags_as_of($1){where} ORDER BY namespace, image_stream, tag"
    try:
        return await all_rows(client, sql, [moment, *params])
    except (Forbidden, Unavailable):
        if not namespace:
            raise
    except Answered as answer:
        if not namespace or answer.status.get("reason") != "Forbidden":
            raise
    return await client.items(namespace, "AsOf", time=moment)
