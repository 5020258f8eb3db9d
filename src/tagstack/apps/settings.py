"""Settings: one frozen struct, filled from `TAGSTACK_` variables and options; an unknown variable is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs

from tagstack.adapters.snapshot_file import NAME as SNAPSHOT_NAME

PREFIX = "TAGSTACK_"
SYNC_ALWAYS = "always"
_MAY_BE_0 = frozenset({"nats_port", "http_port", "unsorted_events_max"})
CLIENT_VARIABLES = frozenset({"TAGSTACK_SERVER", "TAGSTACK_ACTOR", "TAGSTACK_NAMESPACE", "TAGSTACK_OUTPUT"})


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
    nats_port: int | None = None
    http_port: int | None = None
    http_host: str = "127.0.0.1"  # where health and metrics listen; 0.0.0.0 in a container
    replicas: int = 1
    sync_interval: str = "1s"
    server_memory_mb: int = 4_096  # of the embedded server, which may pass it for what it can't do without
    grants: str = ""  # file of `actor: [namespaces]`, YAML or JSON; empty: everyone may read everything
    internal_registry: str = ""  # host[:port] that fills in missing pull specs
    projections: str = ""  # a folder of more read models, beside the built-in ones
    transport: Literal["fast", "plain"] = "fast"  # of commands and log: our own connection, or nats-py's
    in_flight_max: int = 4_096  # commands per worker; over it the answer is TooManyRequests
    image_streams_max: int = 10_000  # states a command worker keeps in memory
    batch_events_max: int = 20_000  # events per transaction of the projector
    projector_memory_mb: int = 1_024
    unsorted_events_max: int = 200_000  # since the tables were sorted; over it a compaction sorts them; 0: never
    snapshot_interval_ms: int = 250
    snapshots_max: int = 3  # kept on disk
    sql_timeout_s: float = 10.0
    sql_memory_mb: int = 1_024
    sql_rows_max: int = 1_000_000
    shutdown_timeout_s: float = 10.0
    log_level: str = "INFO"

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


def read_settings(environment: Mapping[str, str], **options: Any) -> Settings:
    """Return the settings of an environment; options that are not None win.

    Raises: SettingsError naming the variable, the rule and the value.
    """
    given = _from_environment(environment)
    given |= {name: value for name, value in options.items() if value is not None}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from error
    _check_bounds(settings)
    return settings


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    given: dict[str, Any] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in CLIENT_VARIABLES:
            continue
        if variable not in known:
            raise SettingsError(f"{variable}: there is no such setting; there are {', '.join(sorted(known))}")
        name = known[variable]
        try:
            given[name] = getattr(msgspec.convert({name: value}, Settings, strict=False), name)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{variable}: {error}, got {value!r}") from error
    return given


def _check_bounds(settings: Settings) -> None:
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        least = 0 if name in _MAY_BE_0 else 1
        if isinstance(value, int | float) and value < least:
            raise SettingsError(f"{name} must be at least {least}, got {value}")
    for name in ("nats_port", "http_port"):
        port = getattr(settings, name)
        if port is not None and port > 65_535:
            raise SettingsError(f"{name} must be at most 65535, got {port}")
