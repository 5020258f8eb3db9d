"""From bytes to a valid command: decoded, addressed, and checked, all faults at once."""

from __future__ import annotations

import msgspec

from tagstack.domain import validation
from tagstack.domain.commands import AnyCommand
from tagstack.domain.errors import BadRequest

API_VERSIONS = ("v1", "image.openshift.io/v1")

_decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


def read_command(body: bytes, internal_registry: str = "") -> AnyCommand:
    """Return the command in a JSON body.

    Raises: BadRequest for what is no JSON or no known kind, Invalid with every broken rule.
    """
    try:
        command = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _unfit(body, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if command.api_version not in API_VERSIONS:
        raise BadRequest(f"apiVersion must be one of {', '.join(API_VERSIONS)}, got {command.api_version!r}")
    validation.check(command, internal_registry=internal_registry)
    return command


def _unfit(body: bytes, error: msgspec.ValidationError) -> Exception:
    return BadRequest(str(error))
