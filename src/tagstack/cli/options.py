"""Options that verbs share. An option wins over its environment variable, that over the default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from tagstack.cli.failures import UsageError

COMMON = Group("Common options", sort_key=100)
DEFAULT_NAMESPACE = "default"

Format = Literal["table", "wide", "json", "yaml", "name"]
FORMATS = ("table", "wide", "json", "yaml", "name")
Flag = Parameter(negative="")


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where the service is, and who asks."""

    server: Annotated[
        str | None, Parameter(help="NATS URL of the service [TAGSTACK_SERVER; else that of `tagstack up`]")
    ] = None
    home: Annotated[str | None, Parameter(help="folder of `tagstack up` [TAGSTACK_HOME]")] = None
    actor: Annotated[str | None, Parameter(help="who asks [TAGSTACK_ACTOR; else the login name]")] = None


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True, kw_only=True)
class Project(Connection):
    """A connection, and the namespace of names that have none."""

    namespace: Annotated[
        str | None,
        Parameter(name=["--namespace", "-n"], help="namespace of names without one [TAGSTACK_NAMESPACE; else default]"),
    ] = None

    @property
    def given_namespace(self) -> str:
        """Return the namespace asked for, "" where none was. Raises UsageError for a malformed one."""
        from tagstack.domain.names import namespace_faults

        name = self.namespace if self.namespace is not None else os.environ.get("TAGSTACK_NAMESPACE", "")
        if name or self.namespace is not None:
            for fault in namespace_faults(name, "namespace"):
                raise UsageError(f"{fault.field}: {fault.message}")
        return name

    @property
    def default_namespace(self) -> str:
        """Return the namespace of names that have none."""
        return self.given_namespace or DEFAULT_NAMESPACE


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True, kw_only=True)
class Writing:
    """What goes with every command."""

    reason: Annotated[str, Parameter(allow_leading_hyphen=True, help="why; kept with every event for ever")] = ""
    dry_run: Annotated[bool, Flag, Parameter(help="say what would happen, change nothing")] = False


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True, kw_only=True)
class TagWriting(Writing):
    """What goes with every command on a tag."""

    expected_image: Annotated[
        str | None, Parameter(help='only if the tag points at this image now (whole name; "": at none)')
    ] = None
    expected_position: Annotated[
        int | None, Parameter(help="only if the event at this log position made its head (0: it has none)")
    ] = None

    @property
    def expected(self) -> dict[str, str | int]:
        """Return what the commands expect to find. Raises UsageError for a position below 0."""
        if self.expected_position is not None and self.expected_position < 0:
            raise UsageError(f"--expected-position must be at least 0, got {self.expected_position}")
        given = {"expectedImage": self.expected_image, "expectedPosition": self.expected_position}
        return {name: value for name, value in given.items() if value is not None}


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True, kw_only=True)
class Output:
    """How to print."""

    output: Annotated[Format | None, Parameter(name=["--output", "-o"], help="how to print [TAGSTACK_OUTPUT]")] = None

    @property
    def format(self) -> str:
        """Return how to print."""
        return chosen_format(self.output, FORMATS)


def chosen_format(given: str | None, allowed: tuple[str, ...]) -> str:
    """Return the output format: as given, else as the environment has it where the verb knows that one."""
    if given is not None:
        return given
    wanted = os.environ.get("TAGSTACK_OUTPUT", "")
    return wanted if wanted in allowed else allowed[0]
