"""`tagstack delete`: takes image streams and tags out of the current view; their history stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tagstack.cli import references, session
from tagstack.cli.failures import UsageError
from tagstack.cli.kinds import kind_of
from tagstack.cli.options import Flag, Output, Project, TagWriting
from tagstack.cli.sending import metadata, send, tell

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient


def delete(
    resource: str,
    /,
    *names: str,
    force: Annotated[bool, Flag] = False,
    project: Project = Project(),  # noqa: B008  frozen
    writing: TagWriting = TagWriting(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Remove image streams or tags from the current view; history stays and can be rolled back to.

    Parameters
    ----------
    resource
        is (image stream) or istag (image stream tag)
    names
        [NAMESPACE/]STREAM, or [NAMESPACE/]STREAM:TAG
    force
        even where a hold stands against it; the delete ends the hold
    """
    kind = kind_of(resource, ("ImageStream", "ImageStreamTag"))
    if not names:
        raise UsageError(f"delete {resource} needs a NAME")
    if kind == "ImageStream" and writing.expected:
        raise UsageError("--expected-image and --expected-position go with a tag, not with an image stream")
    check_one_position(writing, names)
    documents = [document_of(kind, name, project.default_namespace, force=force) | writing.expected for name in names]

    async def work(client: ServiceClient) -> int:
        sent = [await send(client, document, "", writing) for document in documents]
        return await tell(client, sent, output.format)

    return session.run(project, work)


def check_one_position(writing: TagWriting, refs: Sequence[str]) -> None:
    """Refuse to expect one position of several tags. Raises UsageError."""
    if "expectedPosition" in writing.expected and len(refs) > 1:
        raise UsageError(f"--expected-position goes with one tag, got {len(refs)}: {' '.join(refs)}")


def document_of(kind: str, name: str, namespace: str, *, force: bool) -> dict[str, Any]:
    """Return the command that deletes an image stream or a tag."""
    if kind == "ImageStream":
        stream, named = references.image_stream_name(name, namespace), ""
    else:
        tag = references.tag_name(name, namespace)
        stream, named = tag.image_stream, f":{tag.tag}"
    meta = metadata(stream.name + named, stream.namespace)
    return {"kind": f"Delete{kind}", "metadata": meta} | ({"force": True} if force else {})
