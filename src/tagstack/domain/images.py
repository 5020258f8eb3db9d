"""Images as OpenShift describes them: their name, and metadata derived from manifest and config.

A registry of today posts `dockerImageMetadata: null` with manifest and config as JSON strings.
Source of the rules: openshift-apiserver InternalImageWithMetadata.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tagstack.domain.nesting import NESTING_MAX, is_too_deep
from tagstack.domain.objects import ChildManifest, Image, Layer

T = TypeVar("T")

LAYERS_ORDER = "image.openshift.io/dockerLayersOrder"
MANIFEST_STORED = "image.openshift.io/manifestBlobStored"

_LISTS = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str = ""
    size: int = 0
    media_type: str = ""
    platform: dict[str, Any] | None = None


class Manifest(msgspec.Struct, rename="camel"):
    """A manifest, or a list of them (then `manifests` is set). Sizes in bytes."""

    schema_version: int = 0
    media_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


_manifests = msgspec.json.Decoder(Manifest)
_configs = msgspec.json.Decoder(dict[str, Any])


def image_name(image: Image) -> str:
    """Return an image's name: its own, else the digest of its pull spec, else ""."""
    return image.metadata.name or image.docker_image_reference.partition("@")[2]


def read_manifest(text: str) -> Manifest:
    """Return a parsed manifest. Raises msgspec.DecodeError."""
    return _decoded(_manifests, text)


def read_config(text: str) -> dict[str, Any]:
    """Return a parsed image config. Raises msgspec.DecodeError."""
    return _decoded(_configs, text)


def _decoded(decoder: msgspec.json.Decoder[T], text: str) -> T:
    try:
        found = decoder.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError(str(error)) from error
    if is_too_deep(text.encode()):
        raise msgspec.DecodeError(f"nested deeper than {NESTING_MAX} levels")
    return found


def derive(image: Image, pull_spec: str) -> dict[str, Any]:
    """Return the Image object to be stored, with what manifest and config tell filled in.

    Signatures are dropped, and so are manifest and config where the registry stores them itself.
    """
    annotations = dict(image.metadata.annotations or {})
    layers = list(image.docker_image_layers or [])
    parts = list(image.docker_image_manifests or [])
    metadata = image.docker_image_metadata
    media_type = image.docker_image_manifest_media_type
    if image.docker_image_manifest and metadata is None:
        manifest = read_manifest(image.docker_image_manifest)
        media_type = media_type or manifest.media_type
        parts = parts or children(manifest)
        if manifest.layers and not layers:
            layers = [Layer(name=part.digest, size=part.size, media_type=part.media_type) for part in manifest.layers]
            annotations[LAYERS_ORDER] = "ascending"
        if not parts:
            metadata = _metadata(image, manifest, layers)
    stored = annotations.get(MANIFEST_STORED) == "true"
    given: dict[str, Any] = {
        "kind": "Image",
        "apiVersion": "image.openshift.io/v1",
        "metadata": _object_meta(image, annotations),
        "dockerImageReference": pull_spec,
        "dockerImageMetadata": metadata,
        "dockerImageMetadataVersion": image.docker_image_metadata_version or "1.0",
        "dockerImageLayers": _layers(layers),
        "dockerImageManifests": msgspec.to_builtins(parts),
        "dockerImageManifestMediaType": media_type,
        "dockerImageManifest": "" if stored else image.docker_image_manifest,
        "dockerImageConfig": "" if stored else image.docker_image_config,
        "dockerImageSignatures": image.docker_image_signatures,
    }
    return {key: value for key, value in given.items() if value or value == {}}  # metadata may say nothing


def _layers(layers: list[Layer]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = msgspec.to_builtins(layers)
    for layer in told:
        layer.setdefault("size", 0)  # the only default that is told
    return told


def _object_meta(image: Image, annotations: dict[str, str]) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": image_name(image)}
    if image.metadata.labels:
        meta["labels"] = image.metadata.labels
    if annotations:
        meta["annotations"] = annotations
    return meta


def is_list(manifest: Manifest) -> bool:
    """Return whether a manifest is a list of manifests."""
    return manifest.manifests is not None or manifest.media_type in _LISTS


def children(manifest: Manifest) -> list[ChildManifest]:
    """Return the children that a manifest list names."""
    return [
        ChildManifest(
            digest=child.digest,
            media_type=child.media_type,
            manifest_size=child.size,
            architecture=str((child.platform or {}).get("architecture", "")),
            os=str((child.platform or {}).get("os", "")),
            variant=str((child.platform or {}).get("variant", "")),
        )
        for child in manifest.manifests or []
    ]


def _metadata(image: Image, manifest: Manifest, layers: list[Layer]) -> dict[str, Any]:
    """Return the DockerImage that a config tells of; its size counts each layer once, and the config."""
    config = read_config(image.docker_image_config) if image.docker_image_config else {}
    sizes = {layer.name: layer.size for layer in layers}
    metadata: dict[str, Any] = {
        "kind": "DockerImage",
        "apiVersion": "1.0",
        "Id": manifest.config.digest if manifest.config else "",
        "Created": config.get("created"),
        "Author": config.get("author"),
        "Architecture": config.get("architecture"),
        "Os": config.get("os"),
        "Variant": config.get("variant"),
        "DockerVersion": config.get("docker_version"),
        "Config": config.get("config"),
        "Size": sum(sizes.values()) + len(image.docker_image_config.encode()),
    }
    return {key: value for key, value in metadata.items() if value not in (None, "")}
