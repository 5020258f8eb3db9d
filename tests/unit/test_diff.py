"""Diffs: what changed between two images, and which tags moved between two moments."""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain.diff import Change, Move, image_changes, moves


def image(name: str, layers: dict[str, int], **config: Any) -> dict[str, Any]:
    """Return an Image object."""
    return {
        "metadata": {"name": name},
        "dockerImageMetadata": {"Config": config},
        "dockerImageLayers": [{"name": layer, "size": size} for layer, size in layers.items()],
    }


OLD = image("a", {"base": 10, "old": 5}, Labels={"same": "1", "gone": "x", "v": "1"}, Env=["A=1", "B=2"], Cmd=["run"])
NEW = image("b", {"base": 10, "new": 7}, Labels={"same": "1", "v": "2"}, Env=["A=1", "B=3", "C=4"], Entrypoint=["sh"])


def test_labels_and_variables_that_differ_are_told_with_both_values() -> None:
    """What is the same is left out."""
    found = image_changes(OLD, NEW)
    assert found.labels == {"gone": Change("x", None), "v": Change("1", "2")}
    assert found.env == {"B": Change("2", "3"), "C": Change(None, "4")}


def test_entrypoint_and_command_are_told_where_they_differ() -> None:
    """None where they do not; a missing one is an empty one."""
    found = image_changes(OLD, NEW)
    assert (found.entrypoint, found.cmd) == (Change(None, ["sh"]), Change(["run"], None))
    assert image_changes(OLD, OLD).cmd is None
    assert image_changes(image("a", {}), image("b", {}, Cmd=[])).cmd is None


def test_layers_are_shared_new_or_gone() -> None:
    """And the size is that of all, each layer once."""
    found = image_changes(OLD, NEW)
    assert (found.layers.shared, found.layers.new, found.layers.gone) == (["base"], ["new"], ["old"])
    assert found.size == Change(15, 17)


def test_an_image_without_metadata_can_be_compared() -> None:
    """Nothing is known, so nothing differs but the image."""
    found = image_changes({"metadata": {"name": "a"}}, {"metadata": {"name": "b"}})
    assert found.image == Change("a", "b")
    assert (found.labels, found.env, found.size) == ({}, {}, Change(0, 0))
    assert msgspec.json.encode(found)


def row(tag: str, image: str) -> dict[str, Any]:
    """Return a row of current tags."""
    return {"namespace": "test", "image_stream": "app", "tag": tag, "image": image}


def test_tags_that_point_elsewhere_have_moved() -> None:
    """New and deleted ones among them, in order."""
    old = [row("gone", "a"), row("moved", "a"), row("same", "a")]
    new = [row("moved", "b"), row("new", "c"), row("same", "a")]
    assert moves(old, new) == [
        Move("test", "app", "gone", "a", None),
        Move("test", "app", "moved", "a", "b"),
        Move("test", "app", "new", None, "c"),
    ]
