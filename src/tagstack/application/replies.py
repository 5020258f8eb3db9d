"""Replies: every answer to a command is a Kubernetes Status. The one table from errors to answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tagstack.domain.errors import API_GROUP, Refused, TagstackError, TooManyRequests
from tagstack.domain.events import Event, ImageTagged, PushWithheld, TagDeleted

UNAVAILABLE_RETRY_S = 1
INTERNAL_ERROR = "InternalError"
CAUSES_MAX = 200  # with their length, what any server takes as one reply
TEXT_LENGTH_MAX = 1_000
MOVES_MAX = 2_000  # of a reply that was too large for its server; with the longest names they fit into 1 MB


_MOVING = (ImageTagged, TagDeleted)


class Outcome(msgspec.Struct, frozen=True):
    """What a command led to; `position` is its last event's, or what it was judged against."""

    position: int
    changed: bool
    withheld: bool = False
    moves: list[dict[str, str | None]] = []
    dry_run: bool = False


def outcome(events: Sequence[Event], position: int, *, dry_run: bool = False) -> Outcome:
    """Return what some events of one command amount to."""
    moves: list[dict[str, str | None]] = [
        {"tag": event.tag, "image": event.image, "previousImage": event.previous_image}
        for event in events
        if isinstance(event, _MOVING) and event.image != event.previous_image
    ]
    withheld = PushWithheld in map(type, events)
    return Outcome(position, bool(events), withheld, moves, dry_run)


def success(done: Outcome) -> dict[str, Any]:
    """Return the Status of a command that was accepted."""
    details: dict[str, Any] = {
        "position": done.position,
        "changed": done.changed,
        "withheld": done.withheld,
        "moves": done.moves,
    }
    if done.dry_run:
        details["dryRun"] = True
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def shortened(status: dict[str, Any], command_id: str) -> dict[str, Any]:
    """Return the Status of an accepted command with the first moves only, and where the others are told."""
    moves = status["details"].get("moves", [])
    left_out = max(len(moves) - MOVES_MAX, 0)
    told = f"{left_out} more moves are too much for one reply: the events whose cause is {command_id} tell them"
    return status | {
        "message": told,
        "details": status["details"] | {"moves": moves[:MOVES_MAX], "movesLeftOut": left_out},
    }


def failure(error: Exception) -> dict[str, Any]:
    """Return the Status of a command or query that was refused, or could not be carried out.

    An error that is not of the tree is a bug: what it says is for the log, not for the sender.
    """
    if not isinstance(error, TagstackError):
        return _failure(INTERNAL_ERROR, 500, f"the service failed ({type(error).__name__}); its log tells more", {})
    if not isinstance(error, Refused):
        return _failure("ServiceUnavailable", 503, str(error), {"retryAfterSeconds": UNAVAILABLE_RETRY_S})
    details: dict[str, Any] = {}
    if error.resource:
        details |= {"name": error.name, "group": API_GROUP, "kind": error.resource}
    if error.faults:
        details["causes"] = [
            {"field": _cut(fault.field), "reason": f"FieldValue{fault.type}", "message": _cut(fault.message)}
            for fault in error.faults[:CAUSES_MAX]
        ]
        if len(error.faults) > CAUSES_MAX:
            details["causesLeftOut"] = len(error.faults) - CAUSES_MAX
    if isinstance(error, TooManyRequests):
        details["retryAfterSeconds"] = error.retry_after_s
    return _failure(error.reason, error.code, _cut(error.message, CAUSES_MAX * TEXT_LENGTH_MAX // 4), details)


def _cut(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    return text if len(text) <= length_max else text[:length_max] + "..."


def _failure(reason: str, code: int, message: str, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
        "details": details,
    }
