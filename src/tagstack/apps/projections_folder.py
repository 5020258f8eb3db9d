"""Reads the projections: the built-in folder, and one of the user's own beside it."""

from __future__ import annotations

from pathlib import Path

from tagstack.adapters.duckdb_projections import BadProjection, ReadModel, builtin_folder, discover
from tagstack.adapters.duckdb_read_models import ReadModelFile
from tagstack.apps.settings import Settings, SettingsError


def read_projections(settings: Settings) -> list[ReadModel]:
    """Return the read models of these settings. SQL of the user's own is tried on a batch without events first.

    Raises: SettingsError where the folder is missing, or breaks a rule, or its SQL does not run.
    """
    if not settings.projections:
        return discover([builtin_folder()])
    own = Path(settings.projections).expanduser()
    try:
        models = discover([builtin_folder(), own])
        tried = ReadModelFile(Path(":memory:"), models)
        try:
            tried.rehearse()
        finally:
            tried.close()
    except (BadProjection, OSError, UnicodeDecodeError) as error:
        rule = "must be a folder of read models"
        raise SettingsError(f"TAGSTACK_PROJECTIONS, or --projections, {rule}, got {str(own)!r}: {error}") from error
    return models
