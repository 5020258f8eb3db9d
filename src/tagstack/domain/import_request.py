"""`oc import-image`: which tags of an image stream a user asks to import, and from where.

The importer itself is another part; this says what it is to fetch, or why it can't be told.
"""

from __future__ import annotations

import msgspec

from tagstack.domain.events import TagSpec
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.names import DEFAULT_TAG
from tagstack.domain.sources import source_tag


class ImportRequestError(ValueError):
    """What to import can't be told; the message is the client's."""


class Wanted(msgspec.Struct, frozen=True):
    """One image to import: `source` is its pull spec, `tag` where it goes."""

    source: str
    tag: str


def wanted_tag(state: ImageStream, tag: str, source: str = "", *, confirm: bool = False) -> Wanted:
    """Return what importing one tag means; no tag is latest, `source` the pull spec a user gave.

    Aliases of the same image stream are followed to the tag that can be imported.
    Raises: ImportRequestError.
    """
    tag = tag or DEFAULT_TAG
    if not state.exists:
        if not confirm:
            raise ImportRequestError(
                f'no image stream named "{state.name.name}" exists, pass --confirm to create and import'
            )
        return Wanted(source or state.name.name, tag)
    final, spec = _followed(state, tag)
    if spec is None:
        given = source or (state.docker_image_repository if tag == DEFAULT_TAG else "")
        if not given:
            raise ImportRequestError(f'the tag "{tag}" does not exist on the image stream')
        return Wanted(given, tag)
    if spec.source is None:
        raise ImportRequestError(f'tag "{tag}" already exists without a source: use tag to give it one')
    if spec.source.kind != "DockerImage":
        raise ImportRequestError(f'tag "{tag}" points to existing {spec.source.kind} "{spec.source.name}"')
    if source and source != spec.source.name:
        raise ImportRequestError(
            f'the tag "{tag}" has a different import spec "{spec.source.name}": use tag to change it'
        )
    return Wanted(spec.source.name, final)


def wanted_all(state: ImageStream) -> list[Wanted]:
    """Return every tag of an image stream that can be imported, in order. Raises ImportRequestError for none."""
    found = [
        Wanted(tag.spec.source.name, name)
        for name, tag in sorted(state.tags.items())
        if tag.spec and tag.spec.source and tag.spec.source.kind == "DockerImage" and not tag.spec.reference
    ]
    if not found:
        raise ImportRequestError(
            f'image stream "{state.name.name}" does not have tags pointing to external container images'
        )
    return found


def _followed(state: ImageStream, tag: str) -> tuple[str, TagSpec | None]:
    """Return the last tag of a chain of aliases, and its spec."""
    seen = [tag]
    while True:
        spec = state.tag(seen[-1]).spec
        if spec is None or spec.source is None or spec.source.kind != "ImageStreamTag":
            return seen[-1], spec
        source = source_tag(spec.source, state.name)
        if source.image_stream != state.name:
            raise ImportRequestError(f'tag "{tag}" points to an imagestreamtag from another ImageStream')
        if source.tag in seen:
            raise ImportRequestError(f'tag "{tag}" on the image stream is a reference to same tag')
        seen.append(source.tag)
