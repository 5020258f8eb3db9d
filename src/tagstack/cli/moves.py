"""`tagstack promote`, `rollback`, `hold`, `release`: where a tag points, and what may move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from tagstack.cli import references, session
from tagstack.cli.failures import UsageError
from tagstack.cli.options import Flag, Output, Project, TagWriting
from tagstack.cli.sending import metadata, send, tell
from tagstack.domain.names import TagName


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Target:
    """Which earlier entry to go back to; one step without any."""

    steps: Annotated[int | None, Parameter(help="this many entries back")] = None
    stack_position: Annotated[int | None, Parameter(help="entry N of `tagstack history`, 1 is the top")] = None
    image: Annotated[str | None, Parameter(help="the entry with this image; a prefix of the digest will do")] = None
    time: Annotated[str | None, Parameter(help="what the tag pointed at then: RFC 3339, a date, or an age (2h)")] = None

    def to(self) -> dict[str, Any]:
        """Return the command's `to`. Raises UsageError for more than one, or a number below 1."""
        given: dict[str, Any] = {
            "steps": self.steps,
            "stackPosition": self.stack_position,
            "image": self.image,
            "time": None if self.time is None else references.moment(self.time),
        }
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            raise UsageError("at most one of --steps, --stack-position, --image, --time may be given")
        for name, value in given.items():
            if isinstance(value, int) and value < 1:
                raise UsageError(
                    f"{'--steps' if name == 'steps' else '--stack-position'} must be at least 1, got {value}"
                )
        return given


def promote(
    source: str,
    destination: str,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Copy a tag's image to another tag and keep where it came from, when, and by whom.

    Parameters
    ----------
    source
        the tag to promote, [NAMESPACE/]STREAM:TAG
    destination
        where to, [NAMESPACE/]STREAM[:TAG]; the source's tag where none is given
    """
    origin = references.tag_name(source, project.default_namespace)
    if not references.is_tag_reference(destination):
        destination = f"{destination}:{origin.tag}"
    name = references.tag_name(destination, project.default_namespace)
    body = {"from": {"namespace": origin.image_stream.namespace, "name": f"{origin.image_stream.name}:{origin.tag}"}}
    return _send("PromoteTag", name, body, (project, writing, output))


def rollback(
    ref: str,
    /,
    *,
    target: Target = Target(),
    no_hold: Annotated[bool, Flag] = False,
    project: Project = Project(),  # noqa: B008
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Point a tag at an earlier image again, and hold it there.

    The return is a new entry on top of the history stack. Rolling back twice goes two images back. A
    deleted tag can be rolled back too.

    Parameters
    ----------
    ref
        the tag, [NAMESPACE/]STREAM:TAG
    no_hold
        don't hold the tag: the next push moves it on
    """
    name = references.tag_name(ref, project.default_namespace)
    to = target.to()
    return _send("RollbackTag", name, ({"to": to} if to else {}) | {"hold": not no_hold}, (project, writing, output))


def hold(
    ref: str,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Let nothing but a rollback or a release move a tag; what arrives meanwhile is kept as withheld.

    Parameters
    ----------
    ref
        the tag, [NAMESPACE/]STREAM:TAG
    """
    return _send("HoldTag", references.tag_name(ref, project.default_namespace), {}, (project, writing, output))


def release(
    ref: str,
    /,
    *,
    advance: Annotated[bool, Flag] = False,
    project: Project = Project(),  # noqa: B008  frozen
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """End a hold.

    Parameters
    ----------
    ref
        the tag, [NAMESPACE/]STREAM:TAG
    advance
        move to the newest image that was withheld, if any; otherwise it is forgotten
    """
    name = references.tag_name(ref, project.default_namespace)
    return _send("ReleaseTag", name, {"advance": True} if advance else {}, (project, writing, output))


def _send(kind: str, name: TagName, body: dict[str, Any], shared: tuple[Project, TagWriting, Output]) -> int:
    project, writing, output = shared
    stream = name.image_stream
    document = {"kind": kind, "metadata": metadata(f"{stream.name}:{name.tag}", stream.namespace)} | body
    document |= writing.expected

    async def work(client: Any) -> int:
        return await tell(client, [await send(client, document, stream.namespace, writing)], output.format)

    return session.run(project, work)
