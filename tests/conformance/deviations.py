"""Declared deviations: each function recognises one of OpenShift's quirks in a case and returns what we answer.

It returns None where the case is not about the quirk. A case that deviates passes only with that answer.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from tagstack.domain.names import IMAGE_NAME_LENGTH_MAX, IMAGE_STREAM_LENGTH_MAX, TAG_RULE, image_matches, is_digest
from tagstack.domain.names import is_tag as is_tag_name

Case = dict[str, Any]
Answer = dict[str, Any] | None

DECLARED = Path(__file__).with_name("deviations.toml")


class Deviation(msgspec.Struct, forbid_unknown_fields=True):
    """One rule of OpenShift's that we do not follow, why, and what we do instead."""

    rule: str
    areas: list[str]
    why: str
    instead: str
    expects: str

    def answer(self, case: Case) -> Answer:
        """Return what we answer to a case, None where the rule does not concern it."""
        if case["area"] not in self.areas:
            return None
        function: Callable[[Case], Answer] = globals()[self.expects]
        return function(case)


def declared() -> list[Deviation]:
    """Return every declared deviation."""
    return msgspec.convert(tomllib.loads(DECLARED.read_text())["deviation"], list[Deviation])


def _changed(case: Case, **answer: Any) -> dict[str, Any]:
    return case["then"] | answer


def entry_is_kept(case: Case) -> Answer:
    """Keep the head that was overwritten below the one that overwrote it."""
    given = case["given"].get("status_tags") or {}
    tags = deepcopy(case["then"].get("status_tags") or {})
    kept = False
    for tag, told in tags.items():
        before = (given.get(tag) or {}).get("items") or []
        after = told.get("items") or []
        overwritten = before and len(before) == len(after) and before[0].get("image") != after[0].get("image")
        if overwritten:
            told["items"] = [after[0], before[0], *after[1:]]
            kept = True
    return _changed(case, status_tags=tags) if kept else None


def nothing_changes(case: Case) -> Answer:
    """Leave the head alone where only a generation differs."""
    event = case["when"].get("event") or {}
    given = case["given"].get("status_tags") or {}
    items = (given.get(case["when"].get("tag", "")) or {}).get("items") or []
    if not items or any(items[0].get(key) != event.get(key) for key in ("image", "dockerImageReference")):
        return None
    if items[0].get("generation") == event.get("generation"):
        return None
    return _changed(case, changed=False, status_tags=given)


def aliases_are_transitive(case: Case) -> Answer:
    """Move the aliases of aliases, too."""
    if case["when"]["op"] == "create_mapping":
        return _heads_move(case)
    stream, moved = case["given"].get("stream") or {}, case["then"].get("moved_tags")
    if not moved:
        return None
    all_moved = _followers(stream, stream["name"], list(moved))
    if len(all_moved) == len(moved):
        return None
    tags = deepcopy(case["then"].get("status_tags") or {})
    for tag in all_moved:
        items = ((stream.get("status_tags") or {}).get(tag) or {}).get("items") or []
        tags[tag] = {"items": [case["when"]["event"], *items]}
    return _changed(case, moved_tags=sorted(all_moved), status_tags=tags)


def _heads_move(case: Case) -> Answer:
    name, tag, heads = case["when"].get("name", ""), case["when"]["tag"], case["then"].get("heads")
    stream = (case["given"].get("streams") or {}).get(name)
    if not heads or not stream:
        return None
    wanted = heads | dict.fromkeys(_followers(stream, name, [tag]), heads.get(tag))
    return _changed(case, heads=wanted) if wanted != heads else None


def _followers(stream: dict[str, Any], name: str, moved: list[str]) -> list[str]:
    """Return some tags and all that follow them, over any number of aliases."""
    for source in moved:  # grows on the way
        for tag, spec in (stream.get("spec_tags") or {}).items():
            origin = (spec or {}).get("from") or {}
            own = origin.get("namespace", "") in ("", stream.get("namespace", ""))
            follows = origin.get("kind") == "ImageStreamTag" and origin["name"] in (source, f"{name}:{source}")
            if own and follows and tag not in moved:
                moved.append(tag)
    return moved


def tag_names_are_checked(case: Case) -> Answer:
    """Refuse a tag whose name breaks the rule."""
    if case["when"]["op"] != "validate_image_stream":
        return None
    tags = ((case["when"].get("stream") or {}).get("spec") or {}).get("tags") or {}
    wrong = [tag for tag in tags if not is_tag_name(tag)]
    found = [{"field": f"spec.tags[{tag}].name", "type": "Invalid", "detail": TAG_RULE} for tag in wrong]
    return _changed(case, errors=[*case["then"]["errors"], *found]) if found else None


def kind_is_compared(case: Case) -> Answer:
    """Take another kind for a change."""
    old, new = ((case["when"].get(side) or {}).get("from") or {} for side in ("old", "new"))
    return _changed(case, changed=True) if old and new and old.get("kind") != new.get("kind") else None


def image_stays(case: Case) -> Answer:
    """Answer with the image as it was recorded."""
    stored = case["given"]["image"]
    then = dict(case["then"])
    for key in ("labels", "annotations"):
        if key in then:
            then[key] = stored.get(key, {})
    for key in ("dockerImageReference", "dockerImageManifest"):
        if key in then:
            then[key] = stored.get(key, "")
    return then if then != case["then"] else None


def stream_names_are_short(case: Case) -> Answer:
    """Refuse a name over the limit."""
    name = (case["when"].get("stream") or case["when"]).get("name", "")
    if case["when"]["op"] != "validate_image_stream" or len(name) <= IMAGE_STREAM_LENGTH_MAX:
        return None
    others = [each for each in case["then"]["errors"] if "cannot be longer than" not in each["detail"]]
    if any(each["field"] == "metadata.name" for each in others):
        return None
    detail = f"must be no more than {IMAGE_STREAM_LENGTH_MAX} characters"
    return _changed(case, errors=[*others, {"field": "metadata.name", "type": "Invalid", "detail": detail}])


def image_names_are_short(case: Case) -> Answer:
    """Refuse a plain name over the limit."""
    name = (case["when"].get("image") or {}).get("name", "")
    if case["when"]["op"] != "validate_image" or is_digest(name) or len(name) <= IMAGE_NAME_LENGTH_MAX:
        return None
    detail = f"a name that is no digest must be no more than {IMAGE_NAME_LENGTH_MAX} characters"
    told = case["then"].get("errors", [])
    return _changed(case, errors=[*told, {"field": "metadata.name", "type": "Invalid", "detail": detail}])


def one_command_per_destination(case: Case) -> Answer:
    """Send one command for each destination."""
    if case["when"]["op"] != "oc_tag" or "requests" not in case["then"]:
        return None
    kind = "DeleteImageStreamTag" if case["when"].get("delete") else "ImageStreamTag"
    return _changed(case, requests=[kind] * len(case["when"]["dest"]))


def alias_across_streams_follows(case: Case) -> Answer:
    """Send an alias with the annotation that asks for a follower."""
    if "cannot set alias across different Image Streams" not in case["then"].get("error", ""):
        return None
    bodies = [{"kind": "ImageStreamTag", "tag": {"annotations": {"tagstack.dev/follow": "true"}}}]
    return {"bodies": bodies * len(case["when"]["dest"])}


def ambiguity_is_a_conflict(case: Case) -> Answer:
    """Refuse a prefix that several images of the image stream have."""
    stream, _, prefix = case["when"]["name"].partition("@")
    history = ((case["given"].get("streams") or {}).get(stream) or {}).get("history") or []
    matching = {image for image in history if image_matches(image, prefix)}
    return {"status": "Conflict"} if len(matching) > 1 and case["then"]["status"] == "OK" else None


def entries_have_their_own_time(case: Case) -> Answer:
    """Leave out when an entry was made, where OpenShift copies it."""
    tags = deepcopy(case["then"].get("status_tags") or {})
    given, specs = case["given"].get("status_tags") or {}, case["given"].get("spec_tags") or {}
    copied = False
    for tag, told in tags.items():
        kind = ((specs.get(tag) or {}).get("from") or {}).get("kind")
        if kind != "ImageStreamTag" or told == given.get(tag):
            continue
        for item in told.get("items") or []:
            copied |= item.pop("created", None) is not None
    return _changed(case, status_tags=tags) if copied else None


def races_are_decided_again(case: Case) -> Answer:
    """Accept a push whose tag was moved by another one in the meantime."""
    lost = case["given"].get("fault") and case["then"].get("status") == "Conflict"
    if not lost or case["when"].get("expectedImage"):
        return None
    return {"status": "Success", "retried": True}


def grants_do_not_fail(case: Case) -> Answer:
    """Refuse without the error of a review."""
    errors = [each | {"detail": each["detail"].partition("- ")[0]} for each in case["then"].get("errors", [])]
    return _changed(case, errors=errors) if errors != case["then"].get("errors") else None
