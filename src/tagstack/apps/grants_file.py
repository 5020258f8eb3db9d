"""Reads the grants file: YAML or JSON, `actor: [namespaces]`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from tagstack.application.grants import Grants
from tagstack.apps.settings import SettingsError


def read_grants(path: str) -> Grants:
    """Return the grants of a file; without a path everyone may read everything.

    Raises: SettingsError where the file can't be read or has another form.
    """
    if not path:
        return Grants()
    try:
        found = yaml.safe_load(Path(path).read_text())
        return Grants(msgspec.convert(found or {}, dict[str, list[str]]))
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        told = f"TAGSTACK_GRANTS, or --grants, must be a file of `actor: [namespaces]`, got {path!r}: {error}"
        raise SettingsError(told) from error
