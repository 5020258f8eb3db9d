"""Settings: one frozen struct, filled from `TAGSTACK_` variables and options; an unknown variable is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from tagstack.adapters.snapshot_file import NAME as SNAPSHOT_NAME
from tagstack.application.read_models import GROUP_ROWS

PREFIX = "TAGSTACK_"
SYNC_ALWAYS = "always"
CLIENT_VARIABLES = frozenset({"TAGSTACK_SERVER", "TAGSTACK_ACTOR", "TAGSTACK_NAMESPACE", "TAGSTACK_OUTPUT"})

# a description is the rule that a message names
Count = Annotated[int, Meta(ge=1, description="a whole number of at least 1")]
CountOr0 = Annotated[int, Meta(ge=0, description="a whole number of at least 0")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a whole number from 0 to 65535")]
Replicas = Annotated[int, Meta(ge=1, le=5, description="a whole number from 1 to 5")]
Seconds = Annotated[float, Meta(ge=1, le=86_400, description="a number of seconds from 1 to 86400")]
_DURATION = r"^(?:always|(?=.*[1-9])(?:\d+(?:\.\d+)?(?:ms|s|m|h))+)\Z"  # as nats-server has it
SyncInterval = Annotated[
    str, Meta(pattern=_DURATION, description=f"{SYNC_ALWAYS}, or a duration above 0 such as 500ms, 1s or 2m")
]
Way = Annotated[Literal["fast", "plain"], Meta(description="fast or plain")]
LogLevel = Annotated[
    str,
    Meta(
        pattern=r"^(?i:DEBUG|INFO|WARNING|ERROR|CRITICAL)\Z",
        description="one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
    ),
]


class SettingsError(ValueError):
    """A setting that does not exist, or has a value it can't have."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Durations end in their unit, bounds in `_max`.

    `nats` names a server that is there already; empty means the embedded one. A port of 0 is any free
    one, None the usual one or, where that is taken, any free one.
    """

    home: str = ""
    nats: str = ""
    nats_credentials: str = ""  # a .creds file for that server
    nats_port: Port | None = None
    http_port: Port | None = None
    http_host: str = "127.0.0.1"  # where health and metrics listen; 0.0.0.0 in a container
    replicas: Replicas = 1
    sync_interval: SyncInterval = "1s"
    server_memory_mb: Count = 4_096  # of the embedded server, which may pass it for what it can't do without
    grants: str = ""  # file of `actor: [namespaces]`, YAML or JSON; empty: everyone may read everything
    internal_registry: str = ""  # host[:port] that fills in missing pull specs
    projections: str = ""  # a folder of more read models, beside the built-in ones
    transport: Way = "fast"  # of commands and log: our own connection, or nats-py's
    in_flight_max: Count = 4_096  # commands per worker; over it the answer is TooManyRequests
    image_streams_max: Count = 10_000  # states a command worker keeps in memory
    batch_events_max: Count = 20_000  # events per transaction of the projector
    built_batch_events_max: Count = GROUP_ROWS  # the same where a file is built; fewer where they are large
    projector_memory_mb: Count = 1_024
    unsorted_events_max: CountOr0 = 200_000  # since the tables were sorted; over it a compaction sorts them; 0: never
    snapshot_interval_ms: Count = 250
    snapshots_max: Count = 3  # kept on disk
    sql_timeout_s: Seconds = 10.0
    sql_memory_mb: Count = 1_024
    sql_rows_max: Count = 1_000_000
    shutdown_timeout_s: Seconds = 10.0
    log_level: LogLevel = "INFO"

    @property
    def home_path(self) -> Path:
        """Return the folder that holds everything; the platform's user data folder by default."""
        return Path(self.home or platformdirs.user_data_dir("tagstack")).expanduser().absolute()

    @property
    def read_models(self) -> Path:
        """Return the folder of the projector's own files; no reader opens them."""
        return self.home_path / "read-models"

    @property
    def live(self) -> Path:
        """Return the folder that holds the newest snapshot."""
        return self.home_path / "live"

    @property
    def snapshot(self) -> Path:
        """Return the file that readers open: the newest snapshot."""
        return self.live / SNAPSHOT_NAME

    @property
    def endpoints(self) -> Path:
        """Return the file that tells the other verbs where `up` listens."""
        return self.home_path / "endpoints.json"


_HINTS = get_type_hints(Settings, include_extras=True)


def read_settings(environment: Mapping[str, str], **options: Any) -> Settings:
    """Return the settings of an environment; options that are not None win.

    Raises: SettingsError naming the variable, or the option, the rule and the value.
    """
    given = {
        name: _checked(name, f"--{name.replace('_', '-')}", value)
        for name, value in options.items()
        if value is not None
    }
    return Settings(**(_from_environment(environment) | given))


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    given: dict[str, Any] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in CLIENT_VARIABLES:
            continue
        if variable not in known:
            raise SettingsError(f"{variable}: there is no such setting; there are {', '.join(sorted(known))}")
        given[known[variable]] = _checked(known[variable], variable, value)
    return given


def _checked(name: str, told: str, value: Any) -> Any:
    """Return a value as its setting has it; `told` is what whoever gave it calls the setting."""
    hint = _HINTS[name]
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{told} must be {_rule(hint)}, got {value!r}") from error


def _rule(hint: Any) -> str:
    """Return what a value must be, as the type's description says; of `Port | None` the port's."""
    found = [part.__metadata__[0].description for part in (hint, *get_args(hint)) if hasattr(part, "__metadata__")]
    return str(found[0]) if found else "text"
