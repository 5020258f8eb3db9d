"""Commands on images themselves: record one, sign one, annotate one. Image metadata never changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tagstack.application.ports import Log, Request
from tagstack.application.replies import Outcome
from tagstack.domain import images
from tagstack.domain.commands import AnnotateImage, RecordImage, SignImage
from tagstack.domain.errors import AlreadyExists, BadRequest, NotFound, StaleState, Unavailable, UnknownOutcome
from tagstack.domain.events import EVENT_VERSION, Event, ImageAnnotated, ImageRecorded, ImageSigned
from tagstack.domain.names import ImageStreamName, split_image

IMAGE_COMMANDS = (RecordImage, SignImage, AnnotateImage)
NOWHERE = ImageStreamName("_", "_")
ATTEMPTS_MAX = 50


class ImageHandler:
    """Handles the commands that concern no image stream."""

    def __init__(self, log: Log, now: Callable[[], str]) -> None:
        self._log = log
        self._now = now

    async def handle(self, command: RecordImage | SignImage | AnnotateImage, request: Request) -> Outcome:
        """Carry out one request; a repeated one finds its own event and changes nothing.

        Raises: BadRequest for a wrong subject, NotFound, AlreadyExists, Unavailable.
        """
        if request.target != NOWHERE:
            raise BadRequest(f"images on their own are sent to namespace _ and image stream _, not to {request.target}")
        for _ in range(ATTEMPTS_MAX):
            try:
                match command:
                    case RecordImage():
                        return await self._record(command, request)
                    case SignImage():
                        return await self._sign(command, request)
                    case AnnotateImage():
                        return await self._annotate(command, request)
            except (StaleState, UnknownOutcome):
                continue  # the next attempt reads what is there now
        raise Unavailable(f"{ATTEMPTS_MAX} attempts met other writers or no answer; what happened is in the log")

    async def _record(self, command: RecordImage, request: Request) -> Outcome:
        event = ImageRecorded(
            **self._told(request, "mapping"),
            image=images.image_name(command),
            data=images.derive(command, command.docker_image_reference),
        )
        found = await self._log.last(event)
        if found is not None:
            return Outcome(found[0], changed=found[1].cause == request.command_id)
        return await self._store(command.dry_run, event, 0)

    async def _sign(self, command: SignImage, request: Request) -> Outcome:
        image, name = split_image(command.metadata.name)
        if await self._log.image(image) is None:
            raise NotFound.of("images", image)
        data: dict[str, Any] = msgspec.to_builtins(command)
        for key in ("kind", "dryRun"):
            data.pop(key, None)
        event = ImageSigned(**self._told(request, "tag"), image=image, name=name, data=data)
        found = await self._log.last(event)
        if found is None:
            return await self._store(command.dry_run, event, 0)
        stored = found[1]
        if stored.cause == request.command_id:
            return Outcome(found[0], changed=True)
        if isinstance(stored, ImageSigned) and stored.data.get("content") == data.get("content"):
            return Outcome(found[0], changed=False)
        raise AlreadyExists.of("imagesignatures", command.metadata.name)

    async def _annotate(self, command: AnnotateImage, request: Request) -> Outcome:
        image = command.metadata.name
        if await self._log.image(image) is None:
            raise NotFound.of("images", image)
        event = ImageAnnotated(**self._told(request, "tag"), image=image, annotations={})
        stored = await self._log.of_subject(event)
        for position, earlier in stored:
            if earlier.cause == request.command_id:
                return Outcome(position, changed=True)
        position, newest = stored[-1] if stored else (0, event)
        current = newest.annotations if isinstance(newest, ImageAnnotated) else {}
        merged = current | (command.metadata.annotations or {})
        event.annotations = {key: value for key, value in merged.items() if value}
        if event.annotations == current:
            return Outcome(position, changed=False)
        return await self._store(command.dry_run, event, position)

    async def _store(self, dry_run: bool, event: Event, expected: int) -> Outcome:
        if dry_run:
            return Outcome(expected, changed=True, dry_run=True)
        return Outcome(await self._log.record(event, expected), changed=True)

    def _told(self, request: Request, origin: str) -> dict[str, Any]:
        return {
            "time": self._now(),
            "actor": request.actor,
            "cause": request.command_id,
            "number": 1,
            "origin": origin,
            "reason": request.reason,
            "caused_by": request.caused_by,
            "last": True,
            "version": EVENT_VERSION,
        }
