"""The requests that are sent: small mappings of known images, and the mapping a registry posts for a new one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import msgspec

from tagstack.bench.load import Sent

NAMESPACE = "bench"
IMAGES = 64  # known to the worker before anything is measured
IMAGE_STREAMS = 1_000
FOLLOWING = ("stable", "v1", "v1.2", "v1.2.3")  # aliases of `latest`


def digest(number: int) -> str:
    """Return an image's digest."""
    return f"sha256:{number:064x}"


def small(image_stream: str, number: int) -> Sent:
    """Return the mapping of image `number` at the tag `latest`; some 300 bytes."""
    image = digest(number)
    return _sent(
        image_stream,
        {
            "kind": "ImageStreamMapping",
            "metadata": {"namespace": NAMESPACE, "name": image_stream},
            "image": {"metadata": {"name": image}, "dockerImageReference": f"r.example/{image_stream}@{image}"},
            "tag": "latest",
        },
    )


def alias(image_stream: str, tag: str) -> Sent:
    """Return the istag that lets a tag follow `latest`."""
    source = {"kind": "ImageStreamTag", "name": f"{image_stream}:latest"}
    command = {"kind": "ImageStreamTag", "metadata": {"name": f"{image_stream}:{tag}"}, "tag": {"from": source}}
    return _sent(image_stream, command)


class Pushes:
    """Endless pushes, none of them without effect: each image stream gets another image every time."""

    def __init__(self, image_streams: list[str]) -> None:
        self.image_streams = image_streams
        self._count = 0

    def take(self, count: int) -> Iterator[Sent]:
        """Return the next pushes, one image stream after the other."""
        for _ in range(count):
            turn, index = divmod(self._count, len(self.image_streams))
            self._count += 1
            yield small(self.image_streams[index], turn % IMAGES)


class RealPushes:
    """Endless pushes of new images, as a registry of today posts them; 4 KB each."""

    def __init__(self) -> None:
        self._mapping: Any = msgspec.json.decode(files("tagstack.bench").joinpath("mapping.json").read_bytes())
        self._count = 0

    def take(self, count: int) -> Iterator[Sent]:
        """Return the next pushes, every one of a new image, over all image streams."""
        for _ in range(count):
            self._count += 1
            name, image = f"real{self._count % IMAGE_STREAMS}", digest(1_000_000 + self._count)
            posted = self._mapping["image"]
            repository = posted["dockerImageReference"].partition("@")[0]
            command = self._mapping | {
                "metadata": {"namespace": NAMESPACE, "name": name},
                "image": posted | {"dockerImageReference": f"{repository}@{image}"},
            }
            yield _sent(name, command)


def _sent(image_stream: str, command: dict[str, Any]) -> Sent:
    return Sent(f"tagstack.commands.bench.{NAMESPACE}.{image_stream}", msgspec.json.encode(command))
