"""Where to pull a tag's image from: its head's pull spec, a pull-through one, or the repository's.

Source: library-go ResolvePullSpecForTag, ResolveLatestTaggedImage and LatestTaggedImage.
"""

from __future__ import annotations

import msgspec

from tagstack.domain import pull_spec
from tagstack.domain.events import Head, TagSpec
from tagstack.domain.image_stream import ImageStream
from tagstack.domain.names import DEFAULT_TAG

UNDETERMINED = "the pull spec cannot be determined yet"
NO_REPOSITORY = "no image repository has been set on the image stream status"


class ResolutionError(ValueError):
    """No pull spec can be told; the message says why."""


class Repositories(msgspec.Struct, frozen=True):
    """An image stream's repositories: inside the cluster, and as seen from outside (empty for none)."""

    internal: str = ""
    public: str = ""


class Resolved(msgspec.Struct, frozen=True):
    """A pull spec and what is known of it.

    `has_newer` says that the spec asks for something newer than the head, `has_status` that it comes
    from the history, `is_tag_empty` that it is a guess: the repository and the tag's name.
    """

    pull_spec: str
    has_newer: bool = False
    has_status: bool = False
    is_tag_empty: bool = False


def latest_tagged_image(state: ImageStream, tag: str) -> Head | None:
    """Return the head of a tag; no tag means latest."""
    return state.tag(tag or DEFAULT_TAG).head


def resolve_latest(state: ImageStream, tag: str, repository: str) -> str | None:
    """Return the pull spec of a tag's head, None where it has none."""
    known = state.tag(tag or DEFAULT_TAG)
    return pull_spec_of(known.spec, known.head, repository) if known.head else None


def pull_spec_of(spec: TagSpec | None, head: Head, repository: str) -> str:
    """Return the pull spec for consumers: through the internal registry where the policy is Local."""
    if spec is None or spec.reference_policy.type != "Local" or not repository or not head.image:
        return head.pull_spec
    try:
        local = pull_spec.parse(repository)
    except pull_spec.PullSpecError:
        return head.pull_spec
    return local.replace(tag="", id=head.image).exact()


def resolve_pull_spec(
    state: ImageStream, tag: str, repositories: Repositories, *, external: bool = False, require_latest: bool = False
) -> Resolved:
    """Return the pull spec of a tag; `external` prefers the public repository.

    Raises: ResolutionError where the spec is newer than the head and only the newest will do, or
    where there is nothing to make one of.
    """
    tag = tag or DEFAULT_TAG
    known = state.tag(tag)
    spec, head = known.spec, known.head
    wanted = _from_registry(spec)
    newer = bool(head and spec and spec.generation and spec.generation > head.generation)
    if newer and require_latest:
        if not wanted:
            raise ResolutionError(UNDETERMINED)
        head = None
    if head is not None:
        return Resolved(pull_spec_of(spec, head, repositories.internal), has_newer=newer, has_status=True)
    if wanted:
        return Resolved(wanted)
    base = repositories.public if external and repositories.public else repositories.internal
    if not base:
        raise ResolutionError(NO_REPOSITORY)
    return Resolved(f"{base}:{tag}", is_tag_empty=True)


def _from_registry(spec: TagSpec | None) -> str:
    """Return the pull spec that a tag's spec names itself, if it does and consumers may use it."""
    if spec is None or spec.source is None or spec.source.kind != "DockerImage":
        return ""
    return spec.source.name if spec.reference_policy.type == "Source" else ""
