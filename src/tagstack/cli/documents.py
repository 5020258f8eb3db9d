"""Reads commands from files: YAML or JSON, several documents, lists of objects unfolded.

Times stay the text they are: a command is JSON in the end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tagstack.cli.failures import UsageError

DOCUMENTS_MAX = 100_000
INPUT_BYTES_MAX = 256 * 1024 * 1024

Document = dict[str, Any]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: no times, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises a YAML error for a key that stands in it twice."""
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key != "<<":
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


_Loader.yaml_implicit_resolvers = {
    first: [(name, pattern) for name, pattern in resolvers if name != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_documents(name: str) -> list[Document]:
    """Return the documents of a file, or of stdin for `-`.

    Raises: UsageError for what can't be read, is no YAML and no JSON, or holds no document.
    """
    text = _text(name)
    try:
        found = [document for document in _parsed(text) if document is not None]
    except yaml.YAMLError as error:
        raise UsageError(f"{_called(name)}: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{_called(name)}: {error or type(error).__name__}") from error
    documents = [item for document in found for item in _unfolded(document)]
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict):
            raise UsageError(f"{_called(name)}: document {number}: must be an object, got {document!r:.60}")
    if not documents:
        raise UsageError(f"{_called(name)}: holds no document")
    if len(documents) > DOCUMENTS_MAX:
        raise UsageError(f"{_called(name)}: holds {len(documents)} documents, at most {DOCUMENTS_MAX} are taken")
    return documents


def _text(name: str) -> str:
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as source:
            body = source.read(INPUT_BYTES_MAX + 1)
        if len(body) > INPUT_BYTES_MAX:
            raise UsageError(f"{_called(name)}: is longer than {INPUT_BYTES_MAX} bytes")
        return body.decode()
    except OSError as error:
        raise UsageError(f"{_called(name)}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{_called(name)}: is no UTF-8 text: {error}") from error


def _called(name: str) -> str:
    return "stdin" if name == "-" else name


def _parsed(text: str) -> list[Any]:
    """Return the documents of a text. What looks like JSON is read as JSON first: it is faster and stricter."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _json_documents(text)
        except ValueError as not_json:
            try:
                return list(yaml.load_all(text, _Loader))
            except yaml.YAMLError:
                raise not_json from None
    return list(yaml.load_all(text, _Loader))


def _json_documents(text: str) -> list[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    found: list[Any] = []
    at = 0
    while rest := text[at:].lstrip():
        start = len(text) - len(rest)
        document, at = decoder.raw_decode(text, start)
        found.append(document)
    return found


def _object(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return found


def _unfolded(document: Any) -> list[Any]:
    """Return the items of a Kubernetes list, or the document itself."""
    if not isinstance(document, dict):
        return [document]
    kind, items = document.get("kind"), document.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        return [document]
    common = {"kind": kind.removesuffix("List")} if kind != "List" else {}
    return [common | item if isinstance(item, dict) else item for item in items]
