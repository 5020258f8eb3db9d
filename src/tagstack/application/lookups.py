"""Fetches what a decision needs besides its image stream's state, from the log and never from read models."""

from __future__ import annotations

from collections.abc import Sequence

from tagstack.application.grants import Grants
from tagstack.application.ports import Log
from tagstack.domain import stack
from tagstack.domain.errors import Fault, Forbidden, NotFound
from tagstack.domain.following import HOPS_MAX, followed
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.lookups import ChainOf, Facts, HeadOf, ImageOf, Known, Lookup, Source, StackOf
from tagstack.domain.names import ImageStreamName, TagName
from tagstack.domain.stack import Entry


class Lookups:
    """Answers lookups for one command worker."""

    def __init__(self, log: Log, grants: Grants) -> None:
        self._log = log
        self._grants = grants

    async def fetch(self, wanted: Sequence[Lookup], state: ImageStream, actor: str) -> Facts:
        """Return the answers to some lookups, as of the state's position where they concern it.

        Raises: Forbidden where the actor may not read another project, NotFound and Conflict for an
        image that no entry or several entries mean.
        """
        if not wanted:
            return Facts()
        self._check_access(wanted, state.name, actor)
        stacks: dict[str, list[Entry]] = {}
        sources: dict[TagName, Source] = {}
        images: dict[tuple[ImageStreamName, str], Entry] = {}
        known: set[str] = set()
        chains: dict[TagName, list[TagName]] = {}
        for lookup in wanted:
            match lookup:
                case StackOf(tag):
                    stacks[tag] = stack.fold(await self._log.history(state.name, tag, state.position))
                case HeadOf(name):
                    sources[name] = await self._source(name)
                case ChainOf(name):
                    chains[name] = await self._chain(name)
                case ImageOf(image_stream, prefix):
                    images[(image_stream, prefix)] = await self._image(image_stream, prefix)
                case Known(image):
                    if await self._log.image(image) is not None:
                        known.add(image)
        return Facts(stacks, sources, images, frozenset(known), chains)

    def _check_access(self, wanted: Sequence[Lookup], own: ImageStreamName, actor: str) -> None:
        """Raise Forbidden, naming every field that refers to another project the actor may not read."""
        faults: list[Fault] = []
        for lookup in wanted:
            match lookup:
                case HeadOf(tag=tag):
                    source = tag.image_stream
                case ImageOf(image_stream=source):
                    pass
                case _:
                    continue
            if source.namespace != own.namespace and not self._grants.allows(actor, source.namespace):
                faults.append(Fault(lookup.field, "Forbidden", f'{source}: "" ""'))
                refused = source
        if faults:
            raise Forbidden(
                f'imagestreams "{refused}" is forbidden: actor "{actor}" has no grant for namespace '
                f'"{refused.namespace}" in the grants file',
                tuple(faults),
            )

    async def _source(self, name: TagName) -> Source:
        state = await self._log.load(name.image_stream)
        return Source(state.exists, state.tag(name.tag).head if state.exists else None)

    async def _chain(self, name: TagName) -> list[TagName]:
        """Return what a tag follows, the nearest first; bounded, since circles may exist already."""
        chain: list[TagName] = []
        while len(chain) < HOPS_MAX:
            stored = await self._log.tag_event(name)
            if stored is None:
                break
            source = followed(stored[1].spec, name.image_stream)
            if source is None:
                break
            chain.append(source)
            name = source
        return chain

    async def _image(self, name: ImageStreamName, prefix: str) -> Entry:
        state = await self._log.load(name)
        if not state.exists:
            raise NotFound.of("imagestreams", name.name)
        stacks = stack.fold_tags(await self._log.history(name, None, state.position))
        return stack.resolve_image(stack.images(stacks.values()), prefix)
