"""Changes JSON as JSON: one place at any depth, so that what is mutated gets past the decoder and into our own code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1),
    *("", " ", "\0", "é", "\U0001f600", ":", "@", "/", "a" * 300, "%FF", "_", "*"),
    *("2026-01-01T00:00:00.000000Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60+14:00", "sha256:" + "a" * 64),
    *([], {}, [[]], [None], {"": ""}, {"a": {"a": {}}}),
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value, as what holds it and its key or index."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    return found + [place for key in keys for place in places(value[key])]


def changed(data: bytes, dice: random.Random, mutate: Callable[[bytes], bytes]) -> bytes:
    """Return JSON with one place changed; `mutate` changes bytes, and all that is no JSON."""
    try:
        value = json.loads(data)
        found = places(value)
    except (ValueError, RecursionError):
        return mutate(data)
    if not found or dice.random() < 0.1:
        return mutate(data)
    holder, key = dice.choice(found)
    match dice.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[key] = dice.choice(ODD)
        case 2:
            other, its = dice.choice(found)
            holder[key] = json.loads(json.dumps(other[its]))
        case 3 if isinstance(holder, dict):
            holder[_text(key, mutate)] = holder.pop(key)
        case 4 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case _:
            holder[key] = _text(str(holder[key]), mutate)
    return json.dumps(value).encode()


def _text(text: str, mutate: Callable[[bytes], bytes]) -> str:
    return mutate(text.encode(errors="ignore")).decode(errors="ignore")
