"""What can be wrong with an image, its children, and a signature, in OpenShift's words."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tagstack.domain import images, pull_spec
from tagstack.domain.commands import SignImage
from tagstack.domain.errors import Fault
from tagstack.domain.names import IMAGE_NAME_LENGTH_MAX, is_digest
from tagstack.domain.objects import ChildManifest, Image, Layer

LAYERS_MAX = 1_000
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def image_faults(image: Image, prefix: str = "", *, internal_registry: str = "") -> list[Fault]:
    """Return every rule an image breaks; `prefix` is put before the fields, as in `image.`."""
    faults = name_faults(images.image_name(image), f"{prefix}metadata.name")
    if image.docker_image_reference or not internal_registry:
        faults += pull_spec_faults(image.docker_image_reference, f"{prefix}dockerImageReference")
    faults += _blob_faults(image, prefix)
    if image.docker_image_layers:
        faults += _layer_faults(image.docker_image_layers, image, prefix)
    for index, child in enumerate(image.docker_image_manifests or []):
        faults += child_faults(child, f"{prefix}dockerImageManifests[{index}]")
    return faults


def _layer_faults(layers: list[Layer], image: Image, prefix: str) -> list[Fault]:
    faults = []
    if image.docker_image_manifests:
        detail = "dockerImageLayers should not be set when dockerImageManifests is set"
        faults.append(Fault(f"{prefix}dockerImageLayers", "Invalid", detail, len(layers)))
    if len(layers) > LAYERS_MAX:
        faults.append(Fault(f"{prefix}dockerImageLayers", "TooLong", f"must have at most {LAYERS_MAX} layers"))
    for index, layer in enumerate(layers):
        if layer.name and layer.size >= 0:
            continue
        field = f"{prefix}dockerImageLayers[{index}]"
        if not layer.name:
            faults.append(Fault(f"{field}.name", "Required"))
        if layer.size < 0:
            faults.append(Fault(f"{field}.size", "Invalid", "layer size cannot be negative", layer.size))
    return faults


def name_faults(name: str, field: str) -> list[Fault]:
    """Return what is wrong with an image's name: a digest, or a plain name of at most 63 characters."""
    if is_digest(name):
        return []
    if not name:
        return [Fault(field, "Required")]
    for bad in ("/", "%"):
        if bad in name:
            return [Fault(field, "Invalid", f"may not contain '{bad}'", name)]
    if name in (".", ".."):
        return [Fault(field, "Invalid", f"may not be '{name}'", name)]
    if ":" in name:
        rule = "a digest must be sha256 with 64, sha384 with 96 or sha512 with 128 lower-case hex digits"
        return [Fault(field, "Invalid", rule, name)]
    if "@" in name:
        return [Fault(field, "Invalid", "may not contain '@'", name)]
    if len(name) > IMAGE_NAME_LENGTH_MAX:
        rule = f"a name that is no digest must be no more than {IMAGE_NAME_LENGTH_MAX} characters"
        return [Fault(field, "Invalid", rule, name)]
    return []


def child_faults(child: ChildManifest, field: str) -> list[Fault]:
    """Return what is wrong with one child of a manifest list."""
    faults = []
    if not is_digest(child.digest):
        detail = "digest does not conform with OCI image specification"
        faults.append(Fault(f"{field}.digest", "Invalid", detail, child.digest))
    if not _MEDIA_TYPE.fullmatch(child.media_type):
        detail = "media type does not conform to RFC6838"
        faults.append(Fault(f"{field}.mediaType", "Invalid", detail, child.media_type))
    faults += [Fault(f"{field}.{name}", "Required") for name in ("architecture", "os") if not getattr(child, name)]
    if child.manifest_size < 0:
        faults.append(Fault(f"{field}.size", "Invalid", "manifest size cannot be negative", child.manifest_size))
    return faults


def signature_faults(signature: SignImage) -> list[Fault]:
    """Return every rule a signature breaks."""
    image, _, name = signature.metadata.name.partition("@")
    faults = []
    if not image or not name or "@" in name:
        detail = "name must be of format <imageName>@<signatureName>"
        faults.append(Fault("metadata.name", "Invalid", detail, signature.metadata.name))
    if signature.metadata.labels:
        faults.append(Fault("metadata.labels", "Forbidden", "signature labels cannot be set"))
    if signature.metadata.annotations:
        faults.append(Fault("metadata.annotations", "Forbidden", "signature annotations cannot be set"))
    faults += [Fault(field, "Required") for field in ("type", "content") if not getattr(signature, field)]
    return faults + _condition_faults(signature)


def _condition_faults(signature: SignImage) -> list[Fault]:
    """Return what is wrong with the conditions, and with claims that nothing trusted stands for."""
    states: dict[str, Any] = {str(each.get("type")): each.get("status") for each in signature.conditions or []}
    faults = [
        Fault("conditions", "Invalid", f'missing "{missing}" condition type', sorted(states))
        for missing, present in (("ForImage", "Trusted"), ("Trusted", "ForImage"))
        if present in states and missing not in states
    ]
    if states.get("Trusted", "Unknown") == "Unknown":
        told = {
            "imageIdentity": signature.image_identity,
            "signedClaims": signature.signed_claims,
            "issuedBy": signature.issued_by,
            "issuedTo": signature.issued_to,
        }
        detail = "must be unset for unknown signature state"
        faults += [Fault(field, "Invalid", detail, value) for field, value in told.items() if value]
    return faults


def pull_spec_faults(reference: str, field: str) -> list[Fault]:
    """Return what is wrong with a pull spec that has to be there."""
    if not reference:
        return [Fault(field, "Required")]
    try:
        pull_spec.check(reference)
    except pull_spec.PullSpecError as error:
        return [Fault(field, "Invalid", str(error), reference)]
    return []


def _blob_faults(image: Image, prefix: str) -> list[Fault]:
    """Return what is wrong with manifest and config, as far as metadata has to be derived from them."""
    if not image.docker_image_manifest or image.docker_image_metadata is not None:
        return []
    faults = []
    try:
        manifest = images.read_manifest(image.docker_image_manifest)
    except (msgspec.DecodeError, UnicodeError) as error:
        return [Fault(f"{prefix}dockerImageManifest", "Invalid", f"is no manifest: {error}", _start(image))]
    if images.is_list(manifest):
        for index, child in enumerate(images.children(manifest)):
            faults += child_faults(child, f"{prefix}dockerImageManifest.manifests[{index}]")
    if image.docker_image_config:
        try:
            images.read_config(image.docker_image_config)
        except (msgspec.DecodeError, UnicodeError) as error:
            detail = f"is no image config: {error}"
            faults.append(Fault(f"{prefix}dockerImageConfig", "Invalid", detail, image.docker_image_config[:80]))
    return faults


def _start(image: Image) -> str:
    return image.docker_image_manifest[:80]
