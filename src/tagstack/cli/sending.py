"""Sends commands and tells what became of them, in one clear line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tagstack.cli.failures import DONE, code_of, complain, lines_of
from tagstack.cli.options import Writing
from tagstack.cli.output import print_object, say, seconds, short
from tagstack.domain.names import ImageStreamName, image_stream_faults, namespace_faults

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient, Status

Document = dict[str, Any]

IMAGE_KINDS = ("Image", "ImageSignature", "ImageAnnotations")
_NO_IMAGE_STREAM = ImageStreamName("_", "_")
_RESOURCES = {"ImageStream": "imagestream", "DeleteImageStream": "imagestream", "Image": "image"}


class Sent(msgspec.Struct):
    """A command and its answer. `where` names it among several, `target` is its image stream."""

    document: Document
    target: ImageStreamName
    status: Status
    where: str = ""

    @property
    def subject(self) -> str:
        """Return what the command is about, as people write it."""
        name = str((self.document.get("metadata") or {}).get("name", ""))
        if self.target == _NO_IMAGE_STREAM:
            return name
        if self.document.get("kind") == "ImageStreamMapping":
            name = f"{name}:{self.document.get('tag', '')}"
        return f"{self.target.namespace}/{name}"


def metadata(name: str, namespace: str) -> Document:
    """Return the metadata of a command."""
    return {"name": name, "namespace": namespace}


async def send(client: ServiceClient, document: Document, namespace: str, writing: Writing) -> Sent:
    """Send one command and return it with its Status, a refusal included.

    What can't be addressed is judged here by the service's own rules, so that every fault is told.
    """
    from tagstack.adapters.nats_client import Envelope
    from tagstack.domain.errors import BadRequest, TooLarge

    if writing.dry_run:
        document = document | {"dryRun": True}
    target = _target(document, namespace)
    try:
        body = msgspec.json.encode(document)
        if not _addressable(target):
            return Sent(document, target, _judged(body))
        status = await client.command(target, body, Envelope(reason=writing.reason))
    except TooLarge as error:
        status = _refusal(error)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        status = _refusal(BadRequest(f"can't be written as JSON: {error or type(error).__name__}"))
    return Sent(document, target, status)


def _target(document: Document, namespace: str) -> ImageStreamName:
    if document.get("kind") in IMAGE_KINDS:
        return _NO_IMAGE_STREAM
    meta = document.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = meta.get("name")
    named = name.partition(":")[0] if isinstance(name, str) else ""
    given = meta.get("namespace") or namespace
    return ImageStreamName(given if isinstance(given, str) else "", named)


def _addressable(target: ImageStreamName) -> bool:
    if target == _NO_IMAGE_STREAM:
        return True
    return not namespace_faults(target.namespace) and not image_stream_faults(target.name)


def _judged(body: bytes) -> Status:
    from tagstack.domain.errors import BadRequest, Refused
    from tagstack.domain.wire import read_command

    try:
        read_command(body)
    except Refused as error:
        return _refusal(error)
    return _refusal(BadRequest("the command names no image stream: metadata.name and metadata.namespace must be set"))


def _refusal(error: Any) -> Status:
    from tagstack.application.replies import failure

    return failure(error)


async def tell(client: ServiceClient, sent: Sequence[Sent], form: str) -> int:
    """Print what became of commands and return the exit code: the first failure's."""
    if form in ("json", "yaml"):
        statuses = [one.status for one in sent]
        print_object(statuses[0] if len(statuses) == 1 else statuses, form)
    code = DONE
    for one in sent:
        if one.status.get("status") != "Success":
            code = code or code_of(one.status)
            where = one.where or (f"{one.subject}: " if len(sent) > 1 else "")
            for line in lines_of(one.status):
                complain(f"{where}{line}")
        elif form == "name":
            say(f"{_resource(one)}.image.openshift.io/{one.subject.partition('/')[2] or one.subject}")
        elif form not in ("json", "yaml"):
            for line in await _lines(client, one):
                say(line)
    return code


def _resource(one: Sent) -> str:
    return _RESOURCES.get(str(one.document.get("kind")), "imagestreamtag")


async def _lines(client: ServiceClient, one: Sent) -> list[str]:
    """Return what a command did, for people."""
    details = one.status.get("details") or {}
    dry = bool(details.get("dryRun"))
    at = " (dry run: nothing was stored)" if dry else f" at position {details.get('position')}"
    lines = [_move(one.target, move, dry) + at for move in details.get("moves", [])]
    if details.get("movesLeftOut"):
        lines.append(str(one.status.get("message")))
    if details.get("withheld"):
        verb = "would be withheld" if dry else "withheld"
        lines.append(f"{one.subject} {verb}: the tag is held{await _holder(client, one)}{at}")
    if lines:
        if one.document.get("kind") == "RollbackTag" and one.document.get("hold", True) and not dry:
            lines[-1] += ", held"
        return lines
    if not details.get("changed"):
        return [f"{one.subject} unchanged{await _why_unchanged(client, one)}{at if dry else ''}"]
    return [f"{one.subject} {'would be ' if dry else ''}{_done(one.document)}{at}"]


def _move(target: ImageStreamName, move: dict[str, Any], dry: bool) -> str:
    image, previous = move.get("image"), move.get("previousImage")
    tag = f"{target}:{move.get('tag')}"
    if image == "":
        return f"{tag} {'would refer' if dry else 'refers'} to a pull spec (was {short(previous)})"
    if image is None:
        return f"{tag} {'would be deleted' if dry else 'deleted'} (was {short(previous)})"
    was = short(previous) if previous else "nothing"
    return f"{tag} {'would move' if dry else 'moved'} to {short(image)} (was {was})"


async def _holder(client: ServiceClient, one: Sent) -> str:
    """Return who holds the tag, where that can be asked."""
    hold = await _hold_of(client, one)
    why = f" ({hold['reason']})" if hold.get("reason") else ""
    return f" by {hold['actor']}{why}" if hold.get("actor") else ""


async def _why_unchanged(client: ServiceClient, one: Sent) -> str:
    """Return what a hold has to do with it that there was nothing to do."""
    kind = one.document.get("kind")
    if kind == "ReleaseTag":
        return ": it is not held"
    hold = await _hold_of(client, one) if kind in ("HoldTag", "RollbackTag") else {}
    if not hold.get("actor"):
        return ""
    why = f": {hold['reason']}" if hold.get("reason") else ""
    return f": held by {hold['actor']} since {seconds(hold['since'])}{why}"


async def _hold_of(client: ServiceClient, one: Sent) -> dict[str, Any]:
    from tagstack.domain.errors import TagstackError

    try:
        found = await client.query(one.target.namespace, "ImageTag", one.subject.partition("/")[2])
    except TagstackError:
        return {}
    return found.get("hold") or {}


def _done(document: Document) -> str:
    return {
        "HoldTag": "held",
        "ReleaseTag": "released",
        "RollbackTag": "held",
        "DeleteImageStreamTag": "deleted",
        "DeleteImageStream": "deleted",
        "Image": "recorded",
        "ImageSignature": "stored",
        "ImageAnnotations": "annotated",
        "ImageStreamMapping": "updated (another pull spec)",
    }.get(str(document.get("kind")), "configured")
