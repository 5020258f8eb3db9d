"""ImageStreamLayers: every blob and image that an image stream's history makes reachable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tagstack.domain.errors import Fault
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.views import API_VERSION, metadata


def image_stream_layers(state: ImageStream, images: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Return OpenShift's ImageStreamLayers of some images; None for one that is not known."""
    blobs: dict[str, dict[str, Any]] = {}
    shown: dict[str, dict[str, Any]] = {}
    for name, found in sorted(images.items()):
        shown[name] = {"imageMissing": True} if found is None else _references(found, blobs)
        if found is not None:
            blobs.setdefault(name, _blob(None, found.get("dockerImageManifestMediaType")))
    meta = {key: value for key, value in metadata(state).items() if key not in ("labels", "annotations")}
    return {
        "kind": "ImageStreamLayers",
        "apiVersion": API_VERSION,
        "metadata": meta,
        "blobs": dict(sorted(blobs.items())),
        "images": shown,
    }


def layers_faults(images: Mapping[str, Mapping[str, Any]]) -> list[Fault]:
    """Return what is wrong with the `images` of an ImageStreamLayers: no digest is empty."""
    faults = []
    for image, references in images.items():
        for key, noun in (("layers", "layer"), ("manifests", "manifest")):
            for index, digest in enumerate(references.get(key) or []):
                if not digest:
                    faults.append(Fault(f"images[{image}].{key}[{index}]", "Invalid", f"{noun} cannot be empty", ""))
    return faults


def _references(found: dict[str, Any], blobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what an image refers to, and add its blobs to the known ones."""
    layers = found.get("dockerImageLayers") or []
    for layer in layers:
        blobs[layer["name"]] = _blob(layer.get("size"), layer.get("mediaType"))
    children = found.get("dockerImageManifests") or []
    for child in children:
        blobs.setdefault(child["digest"], _blob(child.get("manifestSize"), child.get("mediaType")))
    config = (found.get("dockerImageMetadata") or {}).get("Id", "")
    shown: dict[str, Any] = {"layers": [layer["name"] for layer in layers]}
    if children:
        shown["manifests"] = [child["digest"] for child in children]
    if config.startswith("sha"):
        blobs.setdefault(config, _blob(None, None))
        shown["config"] = config
    return shown


def _blob(size: int | None, media_type: str | None) -> dict[str, Any]:
    return {"size": size, "mediaType": media_type or ""}
