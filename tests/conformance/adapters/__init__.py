"""One small adapter per `op`: it puts a case's question to our code and spells the answer as cases do."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Case = dict[str, Any]
Adapter = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]  # given, when -> got

ADAPTERS: dict[str, Adapter] = {}
MODULES = ("names", "references", "validations", "mappings", "image_streams", "tags", "images", "stacks", "clients")


def adapter(*ops: str) -> Callable[[Adapter], Adapter]:
    """Register a function as the adapter of some ops."""

    def register(function: Adapter) -> Adapter:
        for op in ops:
            assert op not in ADAPTERS, f"{op} has two adapters"
            ADAPTERS[op] = function
        return function

    return register


def load_all() -> dict[str, Adapter]:
    """Return every adapter by its op."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return ADAPTERS
