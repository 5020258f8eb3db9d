"""Every way tagstack says no, in one tree.

TagstackError
├── Refused                a command or query that breaks a rule; answered with a Kubernetes Status
│   ├── BadRequest         400  unreadable, or addressed wrongly
│   ├── Forbidden          403  a protection or a missing grant
│   ├── NotFound           404
│   ├── AlreadyExists      409
│   ├── Conflict           409  another head, a hold, an ambiguous prefix
│   ├── TooLarge           413  a body or a result over its limit
│   ├── Invalid            422  broken rules, every one of them in `causes`
│   ├── TooManyRequests    429  a bounded queue is full; try again later
│   ├── Cancelled          499  the one who asked took it back
│   ├── UnreadableEvent    500  what the log has at a position is no event; it stops only what needs it
│   └── Timeout            504  a limit on time ran out
├── Unavailable            503  the log did not answer; nothing is known to have happened
├── StaleState             another writer was faster; reload and decide again
└── UnknownOutcome         no ack, or one that says `duplicate`; reload and look for the command
"""

from __future__ import annotations

import msgspec

API_GROUP = "image.openshift.io"
VALUE_LENGTH_MAX = 256  # characters of a wrong value that a message repeats


class Fault(msgspec.Struct, frozen=True):
    """One broken rule: the field's path, Kubernetes' type of fault, what is wrong, and the value."""

    field: str
    type: str
    detail: str = ""
    value: object = None

    @property
    def message(self) -> str:
        """Return the fault as Kubernetes words it, without the field."""
        match self.type:
            case "Required":
                return f"Required value: {self.detail}" if self.detail else "Required value"
            case "Forbidden":
                return f"Forbidden: {self.detail}"
            case "NotFound":
                return f"Not found: {_quoted(self.value)}"
            case "Duplicate":
                return f"Duplicate value: {_quoted(self.value)}"
            case "NotSupported":
                return f"Unsupported value: {_quoted(self.value)}: {self.detail}"
            case "TooLong":
                return f"Too long: {self.detail}"
        if self.value is msgspec.UNSET:
            return f"Invalid value: {self.detail}"
        return f"Invalid value: {_quoted(self.value)}: {self.detail}"


def _quoted(value: object) -> str:
    quoted = msgspec.json.encode(value).decode()
    return quoted if len(quoted) <= VALUE_LENGTH_MAX else f"{quoted[:VALUE_LENGTH_MAX]}..."


class TagstackError(Exception):
    """The root of everything tagstack raises on purpose."""


class Refused(TagstackError):
    """A request that breaks a rule. `reason` and `code` are those of a Kubernetes Status."""

    reason = "InternalError"
    code = 500

    def __init__(self, message: str, faults: tuple[Fault, ...] = (), about: tuple[str, str] = ("", "")) -> None:
        super().__init__(message)
        self.message = message
        self.faults = faults
        self.resource, self.name = about  # what it is about: a kind or a plural resource, and a name


class BadRequest(Refused):
    """The request can't be read, or names one thing in two ways."""

    reason, code = "BadRequest", 400


class Forbidden(Refused):
    """A protection or a missing grant stands against it."""

    reason, code = "Forbidden", 403


class NotFound(Refused):
    """What the request names does not exist, or not any more."""

    reason, code = "NotFound", 404

    @classmethod
    def of(cls, resource: str, name: str) -> NotFound:
        """Return the error worded as Kubernetes does; `resource` is plural, as in `imagestreams`."""
        return cls(f'{resource}.{API_GROUP} "{name}" not found', about=(resource, name))


class AlreadyExists(Refused):
    """What the request would create is there."""

    reason, code = "AlreadyExists", 409

    @classmethod
    def of(cls, resource: str, name: str) -> AlreadyExists:
        """Return the error worded as Kubernetes does."""
        return cls(f'{resource}.{API_GROUP} "{name}" already exists', about=(resource, name))


class Conflict(Refused):
    """The state is not the one the request expects: another head, a hold, several matches."""

    reason, code = "Conflict", 409


class TooLarge(Refused):
    """A body or a result is over its limit."""

    reason, code = "RequestEntityTooLarge", 413


class Invalid(Refused):
    """Rules are broken; `faults` lists every one."""

    reason, code = "Invalid", 422

    @classmethod
    def of(cls, kind: str, name: str, faults: list[Fault]) -> Invalid:
        """Return the error worded as Kubernetes does, for an object of `kind` called `name`."""
        told = [f"{fault.field}: {fault.message}" for fault in faults]
        listed = told[0] if len(told) == 1 else "[" + ", ".join(told) + "]"
        return cls(f'{kind}.{API_GROUP} "{name}" is invalid: {listed}', tuple(faults), (kind, name))


class TooManyRequests(Refused):
    """A bounded queue is full. `retry_after_s` is a hint in seconds."""

    reason, code = "TooManyRequests", 429

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @classmethod
    def in_flight(cls, bound: int) -> TooManyRequests:
        """Return what a command is told that comes over a worker's bound."""
        return cls(f"{bound} commands are in flight, which is the bound of this worker")


class Cancelled(Refused):
    """The one who asked took it back."""

    reason, code = "Cancelled", 499


class UnreadableEvent(Refused):
    """What the log has at a position breaks its rules; it stops only what needs it, and trying again does not help."""

    reason, code = "StorageReadError", 500


class Timeout(Refused):
    """A limit on time ran out; the message names the limit and its setting."""

    reason, code = "Timeout", 504


class Unavailable(TagstackError):
    """The log or a server did not answer, and nothing was stored."""


class StaleState(TagstackError):
    """Another writer appended first; `last` is the log's last sequence where the server told it."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__("another writer appended first")
        self.last = last


class UnknownOutcome(TagstackError):
    """Whether the append was stored is not known; the log has to be read to find out."""
