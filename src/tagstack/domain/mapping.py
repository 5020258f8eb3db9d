"""Mapping: this image exists; put it at this tag."""

from __future__ import annotations

from tagstack.domain import images, lookups
from tagstack.domain.changes import Arrival, Changes
from tagstack.domain.commands import MapImage
from tagstack.domain.errors import NotFound
from tagstack.domain.events import EVENT_VERSION, ImageRecorded
from tagstack.domain.objects import Image


def map_image(command: MapImage, changes: Changes, facts: lookups.Facts) -> None:
    """Let the posted image arrive at its tag; a missing image stream is created with it, if allowed."""
    if not changes.exists and not changes.context.create:
        raise NotFound.of("imagestreams", command.metadata.name)
    changes.create()
    image, pull_spec = images.image_name(_image(command)), _pull_spec(command, changes)
    if image in facts.known and lookups.is_managed(command) and (repository := _repository(changes)):
        pull_spec = f"{repository}@{image}"
    changes.move(command.tag, Arrival(image, pull_spec, "mapping"))


def recorded(command: MapImage, changes: Changes, *, last: bool) -> ImageRecorded:
    """Return the event that records the posted image, to be stored only if the image is new."""
    context, image = changes.context, _image(command)
    return ImageRecorded(
        time=changes.time,
        actor=context.actor,
        cause=context.cause,
        number=0,
        origin="mapping",
        reason=context.reason,
        caused_by=context.caused_by,
        last=last,
        version=EVENT_VERSION,
        image=images.image_name(image),
        data=images.derive(image, _pull_spec(command, changes)),
    )


def _image(command: MapImage) -> Image:
    assert command.image is not None, "validated: a mapping has an image"
    return command.image


def _repository(changes: Changes) -> str:
    if registry := changes.context.internal_registry:
        return f"{registry}/{changes.state.name}"
    return changes.state.docker_image_repository


def _pull_spec(command: MapImage, changes: Changes) -> str:
    image = _image(command)
    return image.docker_image_reference or f"{_repository(changes)}@{images.image_name(image)}"
