"""Names: split, joined, checked, and in order of their priority."""

from __future__ import annotations

from typing import Any

from tagstack.domain.names import SplitError, join_image, join_tag, parse_image_name, parse_tag_name
from tagstack.domain.tag_order import prioritized
from tagstack.domain.tagging import TaggingError, check_tag_name
from tests.conformance.adapters import adapter


@adapter("split_istag_name", "split_isimage_name")
def split(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Split the name of a tag or of an image in an image stream."""
    parse, part = (parse_tag_name, "tag") if when["op"] == "split_istag_name" else (parse_image_name, "id")
    try:
        stream, rest = parse(when["name"])
    except SplitError as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True, "stream": stream, part: rest}


@adapter("join_istag", "join_isimage")
def join(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Join the name of a tag or of an image in an image stream."""
    if when["op"] == "join_istag":
        return {"name": join_tag(when["stream"], when["tag"])}
    return {"name": join_image(when["stream"], when["id"])}


@adapter("client_tag_name_check")
def check(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Check a tag's name as `oc tag` does."""
    try:
        check_tag_name(when["tag"])
    except TaggingError as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True}


@adapter("prioritize_tags")
def prioritize(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Put tags in the order of their priority."""
    return {"order": prioritized(when["tags"])}


@adapter("import_repository")
def first_tags(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Tell which of a repository's tags come first."""
    order, most = prioritized(given["repository_tags"]), given.get("max_tags", 50)
    return {"imported": order[:most], "additionalTags": order[most:]}
