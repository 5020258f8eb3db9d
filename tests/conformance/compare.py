"""Whether what we got is what a case expects; extra fields of ours beside OpenShift's are no difference."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tagstack.domain.times import canonical

WHOLE = ("status_tags", "spec_tags", "heads")  # the set of tags has to be the same, too


def differences(then: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Return what differs, one line each; nothing means that the case passes."""
    found: list[str] = []
    for key, wanted in then.items():
        found += _differences(key, wanted, got)
    return found


def _differences(key: str, wanted: Any, got: dict[str, Any]) -> list[str]:
    match key:
        case "errors":
            theirs, ours = Counter(map(_whole, wanted)), Counter(map(_whole, got.get("errors", [])))
            return [] if theirs == ours else [f"errors: expected {wanted}, got {got.get('errors', [])}"]
        case "errors_include":
            missing = [each for each in wanted if not any(_like(each, error) for error in got.get("errors", []))]
            return [f"errors: expected {missing} among {got.get('errors', [])}"] if missing else []
        case "all_errors_are":
            errors = got.get("errors", [])
            fine = errors and all(_like(wanted, error) for error in errors)
            return [] if fine else [f"errors: expected only {wanted}, got {errors}"]
        case "error_contains" | "message_contains":
            name = key.partition("_")[0]
            return [] if wanted in str(got.get(name, "")) else [f"{name}: expected ...{wanted}..., got {got.get(name)}"]
    if key in WHOLE and wanted is not None and sorted(wanted) != sorted(got.get(key) or {}):
        return [f"{key}: expected the tags {sorted(wanted)}, got {sorted(got.get(key) or {})}"]
    return [] if _same(wanted, got.get(key)) else [f"{key}: expected {wanted!r}, got {got.get(key)!r}"]


def _whole(error: dict[str, str]) -> tuple[str, str, str]:
    return error["field"], error["type"], error.get("detail", "")


def _like(wanted: dict[str, str], error: dict[str, str]) -> bool:
    """Return whether an error is the wanted one; cases leave out the detail where upstream does not look at it."""
    same = (wanted["field"], wanted["type"]) == (error["field"], error["type"])
    return same and wanted.get("detail", "") in ("", error["detail"])


def _same(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(got, dict):
        return all(_same(value, got.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(map(_same, wanted, got))
    if isinstance(wanted, str) and isinstance(got, str):
        return wanted == got or _moment(wanted) == _moment(got)
    return bool(wanted == got)


def _moment(text: str) -> str:
    try:
        return canonical(text)
    except ValueError:
        return text
