"""A long history of pushes, as events: what the log of image streams holds after a year.

Each event is whole and valid, as a command worker would have stored it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tagstack.domain.events import Event, Head, ImageRecorded, ImageStreamCreated, ImageTagged
from tagstack.domain.names import ImageStreamName
from tagstack.domain.times import text_of

EVENTS_PER_TAG = 10  # in a log whose tags grow with it
TAGS_PER_IMAGE_STREAM = 10
IMAGE_STREAMS_PER_NAMESPACE = 20
PUSHES_PER_IMAGE = 10  # an image is pushed, promoted and rolled out: several tags come to point at it
LAYERS = 3
SCATTER = 7_919  # a prime: neighbours in the log belong to different image streams
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=3)  # ten million events last for a year


class Place(msgspec.Struct, frozen=True):
    """One tag, by its number."""

    number: int

    @property
    def image_stream(self) -> ImageStreamName:
        """Return the image stream of the tag."""
        number = self.number // TAGS_PER_IMAGE_STREAM
        return ImageStreamName(f"project-{number // IMAGE_STREAMS_PER_NAMESPACE}", f"app-{number}")

    @property
    def tag(self) -> str:
        """Return the name of the tag."""
        return f"v{self.number % TAGS_PER_IMAGE_STREAM}"


class History:
    """Endless pushes over a number of tags, which may become larger on the way, never smaller."""

    def __init__(self) -> None:
        self.events = 0
        self.tags = 0
        self.ends: dict[str, int] = {}  # where the last event under each subject is in the log that it is written to
        self._pushes = 0
        self._images = 0
        self._heads = array("q")  # the image that each tag points at; -1 for none
        self._created = bytearray()  # of each image stream, whether it exists

    def take(self, events: int, tags: int) -> Iterator[Event]:
        """Return the events of the next pushes: as many as asked for, or up to two more."""
        self.tags = tags
        self._heads.extend([-1] * (tags - len(self._heads)))
        self._created.extend(bytes(tags // TAGS_PER_IMAGE_STREAM + 1 - len(self._created)))
        end = self.events + events
        while self.events < end:
            for event in self._push(self._pushes * SCATTER % tags):
                self.events += 1
                yield event
            self._pushes += 1

    def _push(self, number: int) -> Iterator[Event]:
        place, image = Place(number), self._pushes // PUSHES_PER_IMAGE
        said = {"time": text_of(BEGIN + self.events * STEP), "actor": "ci", "cause": f"build-{self._pushes}"}
        if image >= self._images:
            self._images += 1
            yield _recorded(image, said)
        if not self._created[number // TAGS_PER_IMAGE_STREAM]:
            self._created[number // TAGS_PER_IMAGE_STREAM] = 1
            yield _created(place, said)
        yield _tagged(place, image, self._heads[number], said)
        self._heads[number] = image


def _digest(kind: str, number: int) -> str:
    """Return a digest that looks like one: a file of zeros would be smaller than a real one."""
    return f"sha256:{hashlib.sha256(f'{kind} {number}'.encode()).hexdigest()}"


def _said(said: dict[str, str], number: int, *, last: bool) -> dict[str, Any]:
    rest = {"number": number, "last": last, "origin": "mapping", "reason": "merge", "caused_by": None, "version": 1}
    return said | rest


def _recorded(image: int, said: dict[str, str]) -> Event:
    name = _digest("image", image)
    layers = [{"name": _digest("layer", image * LAYERS + number), "size": 1 << 20} for number in range(LAYERS)]
    data = {
        "metadata": {"name": name},
        "dockerImageReference": f"registry.example/app@{name}",
        "dockerImageMetadata": {"Architecture": "amd64", "Size": LAYERS << 20},
        "dockerImageLayers": layers,
    }
    return ImageRecorded(image=name, data=data, **_said(said, 1, last=False))


def _created(place: Place, said: dict[str, str]) -> Event:
    name = place.image_stream
    return ImageStreamCreated(
        namespace=name.namespace,
        image_stream=name.name,
        uid=f"uid-{name.name}",
        generation=1,
        created=said["time"],
        labels={},
        annotations={},
        lookup_local=False,
        docker_image_repository="",
        **_said(said, 1, last=False),
    )


def _tagged(place: Place, image: int, before: int, said: dict[str, str]) -> Event:
    name, pointed = place.image_stream, _digest("image", image)
    spec = f"registry.example/{name}@{pointed}"
    head = Head(
        image=pointed,
        pull_spec=spec,
        generation=1,
        since=said["time"],
        actor=said["actor"],
        origin="mapping",
        cause=said["cause"],
        reason="merge",
    )
    return ImageTagged(
        namespace=name.namespace,
        image_stream=name.name,
        tag=place.tag,
        uid=f"uid-{name.name}",
        generation=1,
        image=pointed,
        previous_image=None if before < 0 else _digest("image", before),
        pull_spec=spec,
        head=head,
        spec=None,
        hold=None,
        **_said(said, 2, last=True),
    )
