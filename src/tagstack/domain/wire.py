"""From bytes to a valid command: decoded, addressed, and checked, all faults at once."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from tagstack.domain import shape, validation
from tagstack.domain.commands import AnyCommand
from tagstack.domain.errors import BadRequest, Fault, Invalid
from tagstack.domain.nesting import NESTING_MAX, UNREADABLE, is_too_deep

API_VERSIONS = ("v1", "image.openshift.io/v1")
KINDS: dict[str, type] = {str(command.__struct_config__.tag): command for command in get_args(AnyCommand)}

_decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


def read_command(body: bytes, internal_registry: str = "") -> AnyCommand:
    """Return the command in a JSON body.

    Raises: BadRequest for what is no JSON or no known kind, Invalid with every broken rule.
    """
    faults: list[Fault] = []
    try:
        try:
            command = _decoder.decode(body)
        except msgspec.ValidationError:
            command, faults = _fit(body)
    except UNREADABLE as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if is_too_deep(body):
        raise BadRequest(f"the body is nested deeper than {NESTING_MAX} levels")
    if command.api_version not in API_VERSIONS:
        raise BadRequest(f'apiVersion must be one of {", ".join(API_VERSIONS)}, got "{command.api_version}"')
    if faults:
        told = tuple(fault.field for fault in faults)
        found = validation.faults(command, internal_registry=internal_registry)
        faults += [fault for fault in found if not _within(fault.field, told)]
        raise Invalid.of(str(command.__struct_config__.tag), command.metadata.name, faults)
    validation.check(command, internal_registry=internal_registry)
    return command


def _fit(body: bytes) -> tuple[AnyCommand, list[Fault]]:
    """Return what fits of a body whose shape is wrong, and what does not."""
    raw: Any = msgspec.json.decode(body)
    if not isinstance(raw, dict):
        raise BadRequest(f"the body must be an object, got {shape.kind_of(raw)}")
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadRequest(f"kind must be one of {', '.join(KINDS)}; got {msgspec.json.encode(kind).decode()}")
    fitting, faults = shape.fit(raw, KINDS[kind])
    return msgspec.convert(fitting, AnyCommand), faults


def _within(field: str, told: tuple[str, ...]) -> bool:
    """Return whether a field is among the told ones, or a part of one of them."""
    return any(field == each or field.startswith((f"{each}.", f"{each}[")) for each in told)
