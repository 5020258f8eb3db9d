"""Diffs: what changed between two images, and which tags moved between two moments."""

from __future__ import annotations

from typing import Any

from tagstack.domain import diff


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
    found = diff.images(OLD, NEW)
    assert found["labels"] == {"gone": {"before": "x", "after": None}, "v": {"before": "1", "after": "2"}}
    assert found["env"] == {"B": {"before": "2", "after": "3"}, "C": {"before": None, "after": "4"}}


def test_entrypoint_and_command_are_told_where_they_differ() -> None:
    """A missing one is the same as an empty one."""
    assert diff.images(OLD, NEW)["config"] == {
        "Cmd": {"before": ["run"], "after": None},
        "Entrypoint": {"before": None, "after": ["sh"]},
    }
    assert diff.images(OLD, OLD)["config"] == {}
    assert diff.images(image("a", {}), image("b", {}, Cmd=[]))["config"] == {}


def test_layers_are_shared_added_or_removed() -> None:
    """And the size is that of all, each layer once."""
    found = diff.images(OLD, NEW)
    names = {key: [layer["layer"] for layer in layers] for key, layers in found["layers"].items()}
    assert names == {"shared": ["base"], "added": ["new"], "removed": ["old"]}
    assert found["size"] == {"before": 15, "after": 17}


def test_an_image_without_metadata_can_be_compared() -> None:
    """Nothing is known, so nothing differs."""
    found = diff.images({"metadata": {"name": "a"}}, {"metadata": {"name": "b"}})
    assert (found["labels"], found["env"], found["size"]) == ({}, {}, {"before": 0, "after": 0})


def row(tag: str, image: str) -> dict[str, Any]:
    """Return a row of current tags."""
    about = {"namespace": "test", "image_stream": "app", "since": "2026-01-01", "actor": "alice", "reason": "why"}
    return about | {"tag": tag, "image": image}


def test_tags_that_point_elsewhere_have_moved() -> None:
    """New and deleted ones among them, in order, with who moved them."""
    old = [row("gone", "a"), row("moved", "a"), row("same", "a")]
    new = [row("moved", "b"), row("new", "c"), row("same", "a")]
    found = [(move["tag"], move["change"], move["previous_image"], move["image"]) for move in diff.tags(old, new)]
    assert found == [("gone", "went", "a", None), ("moved", "moved", "a", "b"), ("new", "appeared", None, "c")]
    assert diff.tags(old, new)[1]["actor"] == "alice"
