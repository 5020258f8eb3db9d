"""The order in which tags are looked at: latest first, then versions from the newest, then the rest.

Source: library-go PrioritizeTags. A minor version is `5.1`, `v5.1` or `5.1-rc1`; a full one `5.1.3-x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tagstack.domain.names import DEFAULT_TAG

_NUMBER = r"(?:0|[1-9][0-9]*)"
_WORD = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_MINOR = re.compile(r"(?P<major>[0-9]+)\.(?P<minor>[0-9]+)(?:-(?P<pre>\w+))?", re.ASCII)
_FULL = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_PLAIN = re.compile(_NUMBER)
_PRERELEASE = re.compile(rf"{_WORD}(?:\.{_WORD})*")

_LATEST, _MINOR_VERSION, _FULL_VERSION, _OTHER = range(4)

_Key = tuple[int, tuple[object, ...], str]


def prioritized(tags: Iterable[str]) -> list[str]:
    """Return tags in the order of their priority."""
    return sorted(tags, key=_key)


def _key(tag: str) -> _Key:
    if tag == DEFAULT_TAG:
        return _LATEST, (), ""
    prefix = "v" if tag.startswith("v") else ""
    short = tag[len(prefix) :]
    if found := _FULL.fullmatch(short):
        return _FULL_VERSION, _newest_first(found["major"], found["minor"], found["patch"], found["pre"]), prefix
    found = _MINOR.fullmatch(short)
    if found and _is_version(found):
        return _MINOR_VERSION, _newest_first(found["major"], found["minor"], "0", found["pre"]), prefix
    return _OTHER, (), tag


def _is_version(found: re.Match[str]) -> bool:
    """Return whether a minor version is a semantic one: no leading zeros, no underscore."""
    numbers = _PLAIN.fullmatch(found["major"]) and _PLAIN.fullmatch(found["minor"])
    return bool(numbers) and (found["pre"] is None or _PRERELEASE.fullmatch(found["pre"]) is not None)


def _newest_first(major: str, minor: str, patch: str, pre: str | None) -> tuple[object, ...]:
    """Return a key that falls as a semantic version rises; a release is newer than its prereleases."""
    return -int(major), -int(minor), -int(patch), _Descending(_precedence(pre))


def _precedence(pre: str | None) -> tuple[object, ...]:
    if not pre:
        return (1,)
    return (0, *((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")))


class _Descending:
    """Sorts in the opposite order of what it wraps."""

    def __init__(self, value: tuple[object, ...]) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: _Descending) -> bool:
        return other.value < self.value
