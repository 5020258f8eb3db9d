"""Queries of one project, answered from the log: its last word, never a read model that lags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from tagstack.application.grants import Grants
from tagstack.application.ports import ReadableLog
from tagstack.domain import rows, shape, stack, views
from tagstack.domain.errors import BadRequest, Invalid, NotFound, UnreadableEvent
from tagstack.domain.events import ImageAnnotated, ImageSigned
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.layers import image_stream_layers
from tagstack.domain.names import ImageStreamName, split_image, split_tag
from tagstack.domain.nesting import UNREADABLE
from tagstack.domain.stack import Entry
from tagstack.domain.times import canonical

KINDS = (
    *("ImageStream", "ImageStreamTag", "ImageTag", "ImageStreamImage", "ImageStreamLayers"),
    *("Image", "History", "AsOf"),
)
LIST_LENGTH_MAX = 500
ALL_NAMESPACES = "*"
CLUSTER = "_"

ItemsOf = Callable[[ImageStreamName], Awaitable[list[dict[str, Any]]]]


class Query(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is asked for. `limit` bounds the items of a list, `continue` is where the last one ended."""

    kind: str
    name: str = ""
    time: str = ""
    limit: int | None = None
    start: str = msgspec.field(default="", name="continue")


_decoder = msgspec.json.Decoder(Query)


def read_query(body: bytes) -> Query:
    """Return the query in a JSON body.

    Raises: BadRequest for what is no JSON object, Invalid for unknown fields and wrong types.
    """
    try:
        try:
            return _decoder.decode(body)
        except msgspec.ValidationError:
            raw = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise BadRequest(f"the query is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BadRequest(f"the query must be an object, got {shape.kind_of(raw)}")
    fitting, faults = shape.fit(raw, Query)
    if faults:
        raise Invalid.of("Query", str(raw.get("kind", "")), faults)
    return msgspec.convert({"kind": "", **fitting}, Query)


class Queries:
    """Answers queries; whoever may read a project sees the images of its image streams."""

    def __init__(self, log: ReadableLog, grants: Grants, registry: str = "") -> None:
        self._log = log
        self._grants = grants
        self._registry = registry
        self._lists: dict[str, Callable[[Query], ItemsOf]] = {
            "ImageStream": lambda _: self._image_streams_of,
            "ImageStreamTag": lambda _: self._tags_of,
            "ImageTag": lambda _: self._image_tags_of,
            "AsOf": lambda query: self._as_of(query.time),
        }

    async def answer(self, actor: str, namespace: str, query: Query) -> dict[str, Any]:
        """Return the object or the list asked for. Raises Refused."""
        self._grants.check(actor, namespace, f'reading "{query.kind}"')
        if query.limit is not None and query.limit < 1:
            raise BadRequest(f"limit must be at least 1, got {query.limit}")
        if query.kind in self._lists and not query.name:
            return await self._list(query, await self._names(namespace), self._lists[query.kind](query))
        target = ImageStreamName(namespace, query.name)
        match query.kind:
            case "ImageStream":
                return await self._image_stream(target)
            case "ImageStreamTag":
                return await self._tag(namespace, query.name)
            case "ImageTag":
                return await self._image_tag(namespace, query.name)
            case "ImageStreamImage":
                return await self._image_of(namespace, query.name)
            case "ImageStreamLayers":
                return await self._layers(target)
            case "AsOf":
                return await self._list(query, [target], self._as_of(query.time))
            case "Image":
                return await self._cluster_image(namespace, query.name)
            case "History":
                return await self._history(namespace, query)
        raise BadRequest(f"kind must be one of {', '.join(KINDS)}; got {query.kind!r}")

    async def _existing(self, name: ImageStreamName) -> ImageStream:
        state = await self._log.load(name)
        if not state.exists:
            raise NotFound.of("imagestreams", name.name)
        return state

    async def _stacks(self, state: ImageStream) -> dict[str, list[Entry]]:
        return stack.fold_tags(await self._log.history(state.name, None, state.position))

    async def _image_stream(self, name: ImageStreamName) -> dict[str, Any]:
        state = await self._existing(name)
        return views.image_stream(state, await self._stacks(state), self._registry)

    async def _names(self, namespace: str) -> list[ImageStreamName]:
        return sorted(await self._log.image_streams("" if namespace == ALL_NAMESPACES else namespace))

    async def _list(self, query: Query, names: list[ImageStreamName], items_of: ItemsOf) -> dict[str, Any]:
        """Return a page of a list; an image stream that can't be read is named in its metadata, and left out."""
        after, limit = _place(query.start), query.limit or LIST_LENGTH_MAX
        items: list[dict[str, Any]] = []
        unreadable: list[str] = []
        last = ""
        for name in names:
            if (name.namespace, name.name) < after[:2]:
                continue
            if len(items) == limit:
                return _list_of(query.kind, items, last, unreadable)
            try:
                found = await items_of(name)
            except UnreadableEvent as error:
                if query.name:
                    raise
                unreadable.append(f"{name}: {error}")
                continue
            for item in found:
                tag = _tag_of(item)
                if (name.namespace, name.name, tag) <= after:
                    continue
                if len(items) == limit:
                    return _list_of(query.kind, items, last, unreadable)
                items.append(item)
                last = f"{name}:{tag}" if tag else str(name)
        return _list_of(query.kind, items, "", unreadable)

    async def _image_streams_of(self, name: ImageStreamName) -> list[dict[str, Any]]:
        state = await self._log.load(name)
        return [views.image_stream(state, await self._stacks(state), self._registry)] if state.exists else []

    async def _tags_of(self, name: ImageStreamName) -> list[dict[str, Any]]:
        state = await self._log.load(name)
        if not state.exists:
            return []
        return [
            views.image_stream_tag(state, tag, known.head, None)
            for tag, known in sorted(state.tags.items())
            if known.head is not None
        ]

    async def _tag(self, namespace: str, wanted: str) -> dict[str, Any]:
        name, tag = split_tag(wanted)
        state = await self._existing(ImageStreamName(namespace, name))
        head = state.tag(tag).head
        if head is None or not head.image:
            raise NotFound.of("imagestreamtags", wanted)
        return views.image_stream_tag(state, tag, head, await self._image(head.image), self._registry)

    async def _image_tag(self, namespace: str, wanted: str) -> dict[str, Any]:
        name, tag = split_tag(wanted)
        state = await self._existing(ImageStreamName(namespace, name))
        known = state.tag(tag)
        if known.gone:
            raise NotFound.of("imagetags", wanted)
        entries = stack.fold(await self._log.history(state.name, tag, state.position))
        found = await self._known_image(known.head.image) if known.head else None
        return views.image_tag(state, tag, entries, found, self._registry)

    async def _image_tags_of(self, name: ImageStreamName) -> list[dict[str, Any]]:
        state = await self._log.load(name)
        if not state.exists:
            return []
        stacks = await self._stacks(state)
        return [views.image_tag(state, tag, stacks.get(tag, []), None, self._registry) for tag in sorted(state.tags)]

    async def _layers(self, name: ImageStreamName) -> dict[str, Any]:
        state = await self._existing(name)
        known = stack.images((await self._stacks(state)).values())
        found = {image: await self._known_image(image) for image in known}
        for parent in list(found.values()):
            for child in (parent or {}).get("dockerImageManifests") or []:
                found.setdefault(child["digest"], await self._known_image(child["digest"]))
        return image_stream_layers(state, found)

    def _as_of(self, time: str) -> ItemsOf:
        try:
            moment = canonical(time)
        except ValueError:
            raise BadRequest(f"time must be an RFC 3339 time, got {time!r}") from None

        async def rows_of(name: ImageStreamName) -> list[dict[str, Any]]:
            state = await self._log.load(name)
            if not state.position:  # a deleted one still has a past
                raise NotFound.of("imagestreams", name.name)
            return rows.as_of_rows(name, await self._log.history(name, None, state.position), moment)

        return rows_of

    async def _image(self, image: str) -> dict[str, Any]:
        found = await self._known_image(image)
        if found is None:
            raise NotFound.of("images", image)
        return found

    async def _known_image(self, image: str) -> dict[str, Any] | None:
        recorded = await self._log.image(image) if image else None
        if recorded is None:
            return None
        annotations: dict[str, str] = {}
        signatures: list[dict[str, Any]] = []
        for _, event in await self._log.beside(image):
            if isinstance(event, ImageAnnotated):
                annotations = event.annotations
            elif isinstance(event, ImageSigned):
                signatures.append(event.data)
        return views.image(recorded, annotations, signatures)

    async def _image_of(self, namespace: str, wanted: str) -> dict[str, Any]:
        name, prefix = split_image(wanted)
        state = await self._existing(ImageStreamName(namespace, name))
        known = stack.images((await self._stacks(state)).values())
        if prefix not in known:
            known = await self._children(known) | known
        image = stack.resolve_image(known, prefix).head.image
        return views.image_stream_image(state, prefix, await self._image(image))

    async def _children(self, known: dict[str, Entry]) -> dict[str, Entry]:
        """Return the child manifests of the lists among some images, each with its parent's entry."""
        found: dict[str, Entry] = {}
        for image, entry in known.items():
            recorded = await self._log.image(image)
            for child in (recorded.data.get("dockerImageManifests") or []) if recorded else []:
                head = msgspec.structs.replace(entry.head, image=child["digest"])
                found[child["digest"]] = Entry(head, entry.uid)
        return found

    async def _cluster_image(self, namespace: str, wanted: str) -> dict[str, Any]:
        if namespace != CLUSTER:
            raise BadRequest(f"kind Image is read in namespace {CLUSTER}, not in {namespace}")
        return await self._image(wanted)

    async def _history(self, namespace: str, query: Query) -> dict[str, Any]:
        name, tag = split_tag(query.name)
        target = ImageStreamName(namespace, name)
        state = await self._log.load(target)
        entries = stack.fold(await self._log.history(target, tag, state.position))
        if not entries:
            raise NotFound.of("imagestreamtags", query.name)
        gone = None
        if not state.exists or state.tag(tag).head is None:
            gone = entries[0].ended or state.time
        items = rows.history_rows(name, namespace, tag, entries, gone)
        if query.start:
            items = [item for item in items if item["position"] < _position(query.start)]
        page = items[: query.limit]
        start = str(page[-1]["position"]) if len(page) < len(items) else ""
        return _list_of(query.kind, page, start)


def _place(start: str) -> tuple[str, str, str]:
    """Return where a list ended: namespace, image stream and tag, as they are sorted."""
    namespace, _, rest = start.partition("/")
    name, _, tag = rest.partition(":")
    return namespace, name, tag


def _tag_of(item: dict[str, Any]) -> str:
    """Return the tag that an item of a list is about; "" for an image stream."""
    if isinstance(item.get("tag"), str):
        return str(item["tag"])
    return str(item["metadata"]["name"]).partition(":")[2]


def _position(start: str) -> int:
    if not start.isascii() or not start.isdigit():
        raise BadRequest(f'continue must be what the last list said, got "{start}"')
    return int(start)


def _list_of(kind: str, items: list[dict[str, Any]], start: str, unreadable: Sequence[str] = ()) -> dict[str, Any]:
    meta: dict[str, Any] = {"continue": start} if start else {}
    if unreadable:
        meta["unreadable"] = unreadable
    return {"kind": f"{kind}List", "apiVersion": views.API_VERSION, "metadata": meta, "items": items}
