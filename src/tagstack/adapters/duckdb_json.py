"""DuckDB's values as JSON, so that no value is lost on the way.

| type                                   | JSON                                                        |
|----------------------------------------|-------------------------------------------------------------|
| NULL                                   | null                                                        |
| whole numbers up to 64 bits            | number; HUGEINT beyond 64 bits: text                        |
| DECIMAL                                | number up to 15 digits, which every reader keeps; else text |
| FLOAT, DOUBLE                          | number; text "NaN", "Infinity", "-Infinity"                 |
| TIMESTAMP of any kind                  | text, RFC 3339 in UTC with microseconds, as in events       |
| DATE, TIME, UUID, ENUM, BIT            | text                                                        |
| INTERVAL, and every type not named here | text as DuckDB casts it to VARCHAR                         |
| JSON                                   | the JSON value itself                                       |
| LIST, ARRAY, unnamed STRUCT            | array                                                       |
| STRUCT, MAP                            | object                                                      |
| BLOB                                   | text, base64                                                |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from duckdb.sqltypes import DuckDBPyType

from tagstack.application.quoting import identifier

Convert = Callable[[Any], Any]

DECIMAL_DIGITS_MAX = 15
_WHOLE_MIN, _WHOLE_MAX = -(2**63), 2**64 - 1
_WHOLE = frozenset({"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"})
_AS_IS = _WHOLE | {"boolean", "varchar", "blob", "bit", "uuid", "date", "time", "null"}
_TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_ZONED = frozenset({"timestamp with time zone", "timestamptz_ns"})
_NESTED = frozenset({"list", "array", "struct", "map"})
_KNOWN = _AS_IS | _TIMES | {"hugeint", "uhugeint", "decimal", "float", "double", "enum"}

_encode = msgspec.json.Encoder(decimal_format="number").encode


def cast_type(kind: DuckDBPyType) -> str:
    """Return the SQL type to cast a column to so that Python reads it without loss; '' where none is needed."""
    return _readable(kind) if _lossy(kind) else ""


def _lossy(kind: DuckDBPyType) -> bool:
    if kind.id in _NESTED or kind.id == "tuple":
        return any(_lossy(child) for child in _children(kind))
    return kind.id not in _KNOWN


def _readable(kind: DuckDBPyType) -> str:
    match kind.id:
        case "list":
            return _readable(_children(kind)[0]) + "[]"
        case "array":
            return f"{_readable(_children(kind)[0])}[{kind.children[1][1]}]"
        case "map":
            key, value = _children(kind)
            return f"MAP({_readable(key)}, {_readable(value)})"
        case "struct":
            fields = (f"{identifier(name)} {_readable(child)}" for name, child in _fields(kind))
            return f"STRUCT({', '.join(fields)})"
    if kind.id in _ZONED:
        return "TIMESTAMP"
    return str(kind) if kind.id in _KNOWN and kind.id != "enum" else "VARCHAR"


def _children(kind: DuckDBPyType) -> list[DuckDBPyType]:
    return [child for _, child in _fields(kind)]


def _fields(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return [(name, child) for name, child in kind.children if isinstance(child, DuckDBPyType)]


class RowEncoder:
    """Encodes rows of some column types as JSON arrays."""

    def __init__(self, kinds: list[DuckDBPyType]) -> None:
        converters = ((index, _converter(kind)) for index, kind in enumerate(kinds))
        self._converters = [(index, convert) for index, convert in converters if convert is not None]

    def encode(self, row: tuple[Any, ...]) -> bytes:
        """Return one row as a JSON array."""
        if not self._converters:
            return _encode(row)
        values = list(row)
        for index, convert in self._converters:
            if values[index] is not None:
                values[index] = convert(values[index])
        return _encode(values)


def _converter(kind: DuckDBPyType) -> Convert | None:
    """Return what makes a value that is not None fit for JSON, or None where it is."""
    match kind.id:
        case "list" | "array":
            inner = _converter(_children(kind)[0])
            return None if inner is None else lambda values: [_each(inner, value) for value in values]
        case "tuple":
            each = [_converter(child) for child in _children(kind)]
            return lambda values: [_each(inner, value) for inner, value in zip(each, values, strict=True)]
        case "struct":
            fields = {name: _converter(child) for name, child in _fields(kind)}
            return lambda value: {name: _each(fields.get(name), value) for name, value in value.items()}
        case "map":
            keys, values = (_converter(child) for child in _children(kind))
            return lambda value: {_text(_each(keys, key)): _each(values, item) for key, item in value.items()}
    return _leaf(kind)


def _leaf(kind: DuckDBPyType) -> Convert | None:
    if str(kind) == "JSON":
        return lambda value: msgspec.Raw(value.encode())
    if kind.id in _AS_IS:
        return None
    if kind.id in _TIMES:
        return _time
    match kind.id:
        case "hugeint" | "uhugeint":
            return lambda value: value if _WHOLE_MIN <= value <= _WHOLE_MAX else str(value)
        case "decimal":
            return _decimal
        case "float" | "double":
            return _floating
    return str


def _each(convert: Convert | None, value: Any) -> Any:
    return value if value is None or convert is None else convert(value)


def _time(value: Any) -> str:
    # a year that Python does not know comes as DuckDB's text
    return value if isinstance(value, str) else value.isoformat(timespec="microseconds") + "Z"


def _decimal(value: Decimal) -> Decimal | str:
    return value if len(value.as_tuple().digits) <= DECIMAL_DIGITS_MAX else str(value)


def _floating(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _text(key: Any) -> str:
    return key if isinstance(key, str) else _encode(key).decode().strip('"')
