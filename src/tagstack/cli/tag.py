"""`tagstack tag`: points tags at an image, at another tag, or deletes them; rules as in `oc tag`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tagstack.cli import session
from tagstack.cli.delete import check_one_position, document_of
from tagstack.cli.failures import UsageError
from tagstack.cli.options import Flag, Output, Project, TagWriting
from tagstack.cli.sending import send, tell

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient
    from tagstack.domain.events import ObjectReference
    from tagstack.domain.names import TagName
    from tagstack.domain.tagging import TagOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Tagging:
    """How a tag follows its source."""

    alias: Annotated[
        bool, Flag, Parameter(help="move whenever the source tag moves; across image streams the tag follows")
    ] = False
    reference: Annotated[bool, Flag, Parameter(help="only record the pull spec, don't import the image")] = False
    scheduled: Annotated[bool, Flag, Parameter(help="import again from time to time (DockerImage only)")] = False
    insecure: Annotated[bool, Flag, Parameter(help="the registry may be plain HTTP (DockerImage only)")] = False
    reference_policy: Annotated[Literal["source", "local"] | None, Parameter(help="which pull spec consumers get")] = (
        None
    )
    import_mode: Annotated[
        Literal["Legacy", "PreserveOriginal"] | None, Parameter(help="what to import of a manifest list")
    ] = None
    source: Annotated[
        str | None, Parameter(help="kind of the source: istag, isimage or docker; guessed from its form otherwise")
    ] = None
    force: Annotated[bool, Flag, Parameter(help="with -d: even where a hold stands against it")] = False

    def given(self) -> list[str]:
        """Return the options that say something about a source."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value and name != "force"]


def tag(
    *refs: str,
    delete: Annotated[bool, Flag, Parameter(name=["--delete", "-d"])] = False,
    tagging: Tagging = Tagging(),
    project: Project = Project(),  # noqa: B008
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Point tags at an image, at another tag, or delete them: SRC DST..., or -d DST...

    Without --alias a source tag is looked up now and the destination pinned to its image.

    Parameters
    ----------
    refs
        SRC: [NAMESPACE/]STREAM:TAG, [NAMESPACE/]STREAM@IMAGE or a pull spec; DST: [NAMESPACE/]STREAM:TAG
    delete
        delete the tags instead
    """
    namespace = project.default_namespace
    check_one_position(writing, refs if delete else refs[1:])
    if delete:
        documents = _deletes(refs, namespace, tagging)
        return session.run(project, lambda client: _send_all(client, documents, writing, output.format))
    if tagging.force:
        raise UsageError("--force goes with -d")
    if len(refs) < 2:
        raise UsageError("tag needs a source and at least one destination: SRC DST...")
    source, destinations, options = _understood(refs, namespace, tagging)

    async def work(client: ServiceClient) -> int:
        from tagstack.domain.tagging import needs_image, tag_command

        found = await _pinned(client, source, refs[0]) if needs_image(source, options) else source
        documents = [tag_command(found, to, options) for to in destinations]
        return await _send_all(client, documents, writing, output.format)

    return session.run(project, work)


def _understood(
    refs: tuple[str, ...], namespace: str, given: Tagging
) -> tuple[ObjectReference, list[TagName], TagOptions]:
    """Return what the arguments mean. Raises UsageError."""
    from tagstack.domain import tagging

    options = tagging.TagOptions(
        alias=given.alias,
        reference=given.reference,
        scheduled=given.scheduled,
        insecure=given.insecure,
        reference_policy=given.reference_policy or "",
        import_mode=given.import_mode or "",
    )
    try:
        source = tagging.parse_source(refs[0], namespace, given.source or "")
        tagging.check_options(source, options)
        return source, [tagging.parse_destination(ref, namespace) for ref in refs[1:]], options
    except tagging.TaggingError as error:
        raise UsageError(str(error)) from error


async def _send_all(client: ServiceClient, documents: list[dict[str, Any]], writing: TagWriting, form: str) -> int:
    sent = [await send(client, document | writing.expected, "", writing) for document in documents]
    return await tell(client, sent, form)


def _deletes(refs: tuple[str, ...], namespace: str, tagging: Tagging) -> list[dict[str, Any]]:
    if tagging.given():
        raise UsageError(f"{', '.join(tagging.given())} can't go with -d")
    if not refs:
        raise UsageError("tag -d needs at least one destination")
    return [document_of("ImageStreamTag", ref, namespace, force=tagging.force) for ref in refs]


async def _pinned(client: ServiceClient, source: ObjectReference, asked: str) -> ObjectReference:
    """Return a source tag's current image."""
    from tagstack.adapters.nats_client import Answered
    from tagstack.domain import tagging

    try:
        found = await client.query(source.namespace, "ImageStreamTag", source.name)
    except Answered as answer:
        if answer.status.get("reason") != "NotFound" or "imagestreamtags" not in str(answer):
            raise
        told = f'"{asked}" is not currently pointing to an image, cannot use it as the source of a tag'
        raise Answered(answer.status | {"message": told}) from None
    return tagging.pinned(source, found["entry"]["image"])
