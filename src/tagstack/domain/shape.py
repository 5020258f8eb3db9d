"""The shape of a request: every field that is unknown or has the wrong type, by its path.

msgspec names the first such field only; this walks the same types and names them all, and returns
what is left, so that the broken rules of the rest can be told as well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from tagstack.domain.errors import Fault

FAULTS_MAX = 100  # enough for a person to read; a hostile body can't make the answer grow
UNKNOWN = "unknown field"

_NAMES: dict[type, str] = {
    inspect.StrType: "a string",
    inspect.IntType: "an integer",
    inspect.BoolType: "true or false",
    inspect.FloatType: "a number",
    inspect.DictType: "an object",
    inspect.StructType: "an object",
    inspect.ListType: "a list",
}


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def kind_of(raw: Any) -> str:
    """Return what a decoded JSON value is, in JSON's words."""
    return _KINDS.get(type(raw), "something else")


def fit(raw: Any, wanted: type) -> tuple[Any, list[Fault]]:
    """Return `raw` without what does not fit the type, and a fault for each thing left out.

    A null counts as a field that is not there, as in Kubernetes.
    """
    walk = _Walk()
    return walk.value(raw, _type_of(wanted), ""), walk.faults[:FAULTS_MAX]


@cache
def _type_of(wanted: type) -> inspect.Type:
    return inspect.type_info(wanted)


class _Unfit(Exception):
    pass


class _Walk:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def value(self, raw: Any, wanted: inspect.Type, path: str) -> Any:
        """Return the part of a value that fits. Raises _Unfit where nothing does."""
        match wanted:
            case inspect.UnionType(types=types):
                return self.value(raw, next(each for each in types if not isinstance(each, inspect.NoneType)), path)
            case inspect.StructType() if isinstance(raw, dict):
                return self.fields(raw, wanted, path)
            case inspect.DictType() if isinstance(raw, dict):
                return {
                    key: kept
                    for key, item in raw.items()
                    for kept in self.kept(item, wanted.value_type, f"{path}[{key}]")
                }
            case inspect.ListType() if isinstance(raw, list):
                return [
                    kept
                    for index, item in enumerate(raw)
                    for kept in self.kept(item, wanted.item_type, f"{path}[{_key(item, wanted.item_type, index)}]")
                ]
            case inspect.AnyType():
                return raw
            case inspect.StrType() if isinstance(raw, str):
                return raw
            case inspect.BoolType() if isinstance(raw, bool):
                return raw
            case inspect.LiteralType(values=values) if raw in values:
                return raw
            case inspect.IntType() if isinstance(raw, int) and not isinstance(raw, bool):
                return raw
        self.faults.append(Fault(path, "Invalid", f"must be {_named(wanted)}", raw))
        raise _Unfit

    def kept(self, raw: Any, wanted: inspect.Type, path: str) -> list[Any]:
        """Return a list with the part of a value that fits, or an empty one."""
        try:
            return [self.value(raw, wanted, path)]
        except _Unfit:
            return []

    def fields(self, raw: dict[str, Any], wanted: inspect.StructType, path: str) -> dict[str, Any]:
        """Return the fields of an object that fit."""
        known = {field.encode_name: field for field in wanted.fields}
        found: dict[str, Any] = {}
        for name, item in raw.items():
            at = f"{path}.{name}" if path else name
            if name == wanted.tag_field:
                found[name] = item
            elif name not in known:
                if wanted.forbid_unknown_fields:
                    self.faults.append(Fault(at, "Invalid", UNKNOWN, msgspec.UNSET))
            elif item is not None:
                for kept in self.kept(item, known[name].type, at):
                    found[name] = kept
        return found


def _named(wanted: inspect.Type) -> str:
    if isinstance(wanted, inspect.LiteralType):
        return f"one of {', '.join(map(str, wanted.values))}"
    return _NAMES.get(type(wanted), "of another type")


def _key(item: Any, wanted: inspect.Type, index: int) -> str:
    """Return what names an item of a list in a path: for tags their name, as OpenShift does, else its index."""
    if isinstance(wanted, inspect.StructType) and wanted.cls.__name__ == "TagReference" and isinstance(item, dict):
        return str(item.get("name", index))
    return str(index)
