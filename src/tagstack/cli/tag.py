"""`tagstack tag`: points tags at an image, at another tag, or deletes them; rules as in `oc tag`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tagstack.cli import references, session
from tagstack.cli.delete import document_of
from tagstack.cli.failures import UsageError
from tagstack.cli.options import Flag, Output, Project, Writing
from tagstack.cli.sending import metadata, send, tell
from tagstack.domain.names import ImageStreamName, TagName

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

FOLLOW = "tagstack.dev/follow"
_SOURCES = {
    "ImageStreamTag": ("imagestreamtag", "istag"),
    "ImageStreamImage": ("imagestreamimage", "isimage"),
    "DockerImage": ("dockerimage", "docker"),
}


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
    writing: Writing = Writing(),  # noqa: B008
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
    if delete:
        documents = _deletes(refs, namespace, tagging)
        return session.run(project, lambda client: _send_all(client, documents, writing, output.format))
    if tagging.force:
        raise UsageError("--force goes with -d")
    if len(refs) < 2:
        raise UsageError("tag needs a source and at least one destination: SRC DST...")
    source = _source(refs[0], namespace, tagging)
    _check(source, tagging)
    destinations = [references.tag_name(ref, namespace) for ref in refs[1:]]

    async def work(client: ServiceClient) -> int:
        found = source if tagging.alias else await _pinned(client, source, refs[0])
        return await _send_all(client, [_document(found, to, tagging) for to in destinations], writing, output.format)

    return session.run(project, work)


async def _send_all(client: ServiceClient, documents: list[dict[str, Any]], writing: Writing, form: str) -> int:
    return await tell(client, [await send(client, document, "", writing) for document in documents], form)


def _deletes(refs: tuple[str, ...], namespace: str, tagging: Tagging) -> list[dict[str, Any]]:
    if tagging.given():
        raise UsageError(f"{', '.join(tagging.given())} can't go with -d")
    if not refs:
        raise UsageError("tag -d needs at least one destination")
    return [document_of("ImageStreamTag", ref, namespace, force=tagging.force) for ref in refs]


def _source(text: str, namespace: str, tagging: Tagging) -> dict[str, str]:
    """Return the reference that a source means. Its kind is guessed from its form, as oc does."""
    from tagstack.domain import pull_spec

    kind = _source_kind(tagging.source)
    prefix = references.image_of(text) if kind in ("", "ImageStreamImage") else None
    if prefix is not None:
        stream, image = prefix[0], prefix[1]
        space, name = references.split_namespace(stream, namespace)
        return {"kind": "ImageStreamImage", "namespace": space, "name": f"{name}@{image}"}
    if kind == "ImageStreamImage":
        raise UsageError(f"--source={tagging.source} requires a valid <name>@<id> as SRC, got {text!r}")
    if kind != "ImageStreamTag":
        try:
            spec = pull_spec.parse(text)
        except pull_spec.PullSpecError as error:
            raise UsageError(f"SRC {text!r} is no pull spec: {error}") from error
        if kind == "DockerImage" or spec.registry or not spec.tag or "/" in spec.name:
            return {"kind": "DockerImage", "name": text}
    if not references.is_tag_reference(text):
        raise UsageError(f"--source={tagging.source} requires a valid <name>:<tag> as SRC, got {text!r}")
    found = references.tag_name(text, namespace)
    of = found.image_stream
    return {"kind": "ImageStreamTag", "namespace": of.namespace, "name": f"{of.name}:{found.tag}"}


def _source_kind(word: str | None) -> str:
    if not word:
        return ""
    for kind, words in _SOURCES.items():
        if word.lower() in words:
            return kind
    raise UsageError(f"--source must be one of istag, isimage, docker; got {word!r}")


def _check(source: dict[str, str], tagging: Tagging) -> None:
    kind = source["kind"]
    if tagging.alias and kind != "ImageStreamTag":
        raise UsageError(f"--alias needs an image stream tag as SRC, got {kind} {source['name']}")
    if tagging.alias and tagging.reference:
        raise UsageError("--alias and --reference can't go together")
    for name in ("scheduled", "insecure", "import_mode"):
        if getattr(tagging, name) and kind != "DockerImage":
            raise UsageError(f"--{name.replace('_', '-')} needs a pull spec as SRC, got {kind} {source['name']}")


async def _pinned(client: ServiceClient, source: dict[str, str], asked: str) -> dict[str, str]:
    """Return a source tag's current image; any other source as it is."""
    from tagstack.adapters.nats_client import Answered

    if source["kind"] != "ImageStreamTag":
        return source
    try:
        found = await client.query(source["namespace"], "ImageStreamTag", source["name"])
    except Answered as answer:
        if answer.status.get("reason") != "NotFound" or "imagestreamtags" not in str(answer):
            raise
        told = f'"{asked}" is not currently pointing to an image, cannot use it as the source of a tag'
        raise Answered(answer.status | {"message": told}) from None
    stream = source["name"].partition(":")[0]
    return source | {"kind": "ImageStreamImage", "name": f"{stream}@{found['entry']['image']}"}


def _document(source: dict[str, str], to: TagName, tagging: Tagging) -> dict[str, Any]:
    spec: dict[str, Any] = {"from": source}
    if tagging.alias and ImageStreamName(source["namespace"], source["name"].partition(":")[0]) != to.image_stream:
        spec["annotations"] = {FOLLOW: "true"}
    if tagging.reference:
        spec["reference"] = True
    policy: dict[str, Any] = {name: True for name in ("scheduled", "insecure") if getattr(tagging, name)}
    if tagging.import_mode:
        policy["importMode"] = tagging.import_mode
    if policy:
        spec["importPolicy"] = policy
    if tagging.reference_policy:
        spec["referencePolicy"] = {"type": tagging.reference_policy.capitalize()}
    meta = metadata(f"{to.image_stream.name}:{to.tag}", to.image_stream.namespace)
    return {"kind": "ImageStreamTag", "metadata": meta, "tag": spec}
