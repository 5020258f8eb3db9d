"""The parts of events: specs, heads, holds, provenance. Field names are stored for ever, as those of events."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """A part of an event, spelled in camelCase with defaults left out."""


class ObjectReference(Value, frozen=True, forbid_unknown_fields=True):
    """What a spec tag points at. `kind` is ImageStreamTag, ImageStreamImage or DockerImage."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class ImportPolicy(Value, frozen=True, forbid_unknown_fields=True):
    """How an importer treats a tag from a DockerImage."""

    insecure: bool = False
    scheduled: bool = False
    import_mode: str = "Legacy"


class ReferencePolicy(Value, frozen=True, forbid_unknown_fields=True):
    """Which pull spec consumers get: `Source` as recorded, `Local` by the internal registry."""

    type: str = "Source"


class TagSpec(Value, frozen=True):
    """The wish for a tag (OpenShift's `spec.tags[]` without the name)."""

    source: ObjectReference | None = msgspec.field(default=None, name="from")
    reference: bool = False
    generation: int | None = None
    import_policy: ImportPolicy = ImportPolicy()
    reference_policy: ReferencePolicy = ReferencePolicy()
    annotations: dict[str, str] = {}


class Provenance(Value, frozen=True):
    """Where a promoted image came from: the source tag's entry, and who had put it there."""

    image_stream: str  # namespace/image_stream
    tag: str
    image: str
    position: int
    actor: str
    time: str


class Head(Value, frozen=True):
    """The top entry of a tag's history stack.

    `position` is the log position of the event that made the entry; 0 means the event that carries
    this head. `restores` is the position of the original entry that a rollback returned to. An empty
    `image` is a reference tag: a pull spec without an image.
    """

    image: str
    pull_spec: str
    generation: int
    since: str
    actor: str
    origin: str
    cause: str
    reason: str = ""
    caused_by: int | None = None
    position: int = 0
    restores: int | None = None
    promoted_from: Provenance | None = None


class Withheld(Value, frozen=True):
    """An image that arrived while the tag was held."""

    image: str
    pull_spec: str
    time: str
    actor: str
    origin: str
    reason: str = ""
    caused_by: int | None = None


class Hold(Value, frozen=True):
    """Who holds a tag, since when, why, and the newest image withheld meanwhile."""

    since: str
    actor: str
    reason: str = ""
    withheld: Withheld | None = None
    withheld_count: int = 0
