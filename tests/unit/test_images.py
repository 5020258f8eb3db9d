"""Images: what registries post, by the samples they posted, and what is derived from it."""

from __future__ import annotations

from typing import Any

import pytest

from tagstack.domain.errors import Invalid
from tests.examples import Story, command, digest, mapping, sample


def recorded(name: str) -> dict[str, Any]:
    """Return the Image that is recorded when a sample is posted."""
    body = sample(name)
    decision = Story().decide(body)
    assert decision.image is not None
    return decision.image.data


def test_a_mapping_with_metadata_keeps_it_as_posted() -> None:
    """The form of 2016: metadata, layers with duplicates, no manifest."""
    body, image = sample("imagestreammapping-ruby.yaml"), recorded("imagestreammapping-ruby.yaml")
    assert image["dockerImageMetadata"] == body["image"]["dockerImageMetadata"]
    assert len(image["dockerImageLayers"]) == len(body["image"]["dockerImageLayers"]) == 7
    assert image["metadata"]["name"] == image["dockerImageReference"].partition("@")[2]


def test_a_mapping_without_metadata_has_it_derived() -> None:
    """The form of today: manifest and config as text; the size counts each layer once, and the config."""
    body, image = sample("imagestreammapping-oci.json"), recorded("imagestreammapping-oci.json")
    metadata, config = image["dockerImageMetadata"], body["image"]["dockerImageConfig"]
    assert metadata["Architecture"] == "amd64"
    assert metadata["Config"]
    layers = {layer["name"]: layer["size"] for layer in image["dockerImageLayers"]}
    assert metadata["Size"] == sum(layers.values()) + len(config.encode())


def test_a_manifest_that_the_registry_stores_is_not_kept() -> None:
    """The annotation says so; manifest and config are dropped once they have been read."""
    image = recorded("imagestreammapping-oci.json")
    assert image["metadata"]["annotations"]["image.openshift.io/manifestBlobStored"] == "true"
    assert "dockerImageManifest" not in image and "dockerImageConfig" not in image


def test_a_manifest_list_has_children_and_no_layers() -> None:
    """Each child with its platform."""
    image = recorded("imagestreammapping-index.json")
    assert image["dockerImageManifests"]
    assert "dockerImageLayers" not in image
    assert all(child["architecture"] and child["os"] for child in image["dockerImageManifests"])


def test_a_child_is_an_image_of_its_own() -> None:
    """It can be recorded without a tag."""
    body = sample("image-child.json")
    assert command(body).metadata.name == body["metadata"]["name"]


def test_an_image_without_a_name_takes_the_digest_of_its_pull_spec() -> None:
    """Neither is an error."""
    body = mapping("latest", "a")
    del body["image"]["metadata"]
    decision = Story().decide(body)
    assert decision.image and decision.image.image == digest("a")
    del body["image"]["dockerImageReference"]
    with pytest.raises(Invalid) as refused:
        command(body)
    assert {"image.metadata.name", "image.dockerImageReference"} <= {fault.field for fault in refused.value.faults}


def test_signatures_in_a_mapping_are_dropped() -> None:
    """They have a command of their own."""
    body = mapping("latest", "a")
    body["image"]["signatures"] = [{"type": "AtomicImageV1", "content": "YmxvYg=="}]
    decision = Story().decide(body)
    assert decision.image and "signatures" not in decision.image.data


def test_a_managed_image_that_is_known_is_pulled_from_the_image_streams_own_repository() -> None:
    """OpenShift's rule for images in its internal registry; the recorded image stays as it is."""
    body = mapping("latest", "a")
    body["image"]["metadata"]["annotations"] = {"openshift.io/image.managed": "true"}
    story = Story(mapping("latest", "a") | {"metadata": {"name": "other"}})
    story.do(body, internal_registry="registry:5000")
    assert story.state().tag("latest").head.pull_spec == f"registry:5000/test/app@{digest('a')}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dockerImageManifest": "{", "dockerImageMetadata": None}, "image.dockerImageManifest"),
        ({"dockerImageManifest": '{"layers": 1}'}, "image.dockerImageManifest"),
        ({"dockerImageManifest": "{}", "dockerImageConfig": "[]"}, "image.dockerImageConfig"),
        ({"dockerImageLayers": [{"name": ""}]}, "image.dockerImageLayers[0].name"),
        ({"dockerImageLayers": [{"name": "a", "size": -1}]}, "image.dockerImageLayers[0].size"),
        ({"dockerImageReference": "a//b"}, "image.dockerImageReference"),
        ({"metadata": {"name": "sha256:" + "0" * 63}}, "image.metadata.name"),
        ({"metadata": {"name": "x" * 64}}, "image.metadata.name"),
    ],
)
def test_a_broken_image_is_invalid_at_its_field(change: dict[str, Any], field: str) -> None:
    """What can't be read is told where it stands, before anything is stored."""
    body = mapping("latest", "a")
    body["image"] |= change
    with pytest.raises(Invalid) as refused:
        command(body)
    assert [fault.field for fault in refused.value.faults] == [field]
