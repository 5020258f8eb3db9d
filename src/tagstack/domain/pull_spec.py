"""Pull specs: references to images in registries, parsed and written as OpenShift does.

Nothing is added when parsing: neither `library` nor `latest` nor a registry. Source: library-go
`reference.Parse` and the forms of DockerImageReference.
"""

from __future__ import annotations

import re

import msgspec

from tagstack.domain.names import is_digest

HUB = "docker.io"
HUB_HOSTS = {"docker.io", "index.docker.io", "registry-1.docker.io"}
NAME_LENGTH_MAX = 255

# the source has `-*` where here is `-+`: the same names, but with `-*` the time doubles with each letter of a wrong one
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = (
    r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*(?::[0-9]+)?"
)
_NAME = rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*"
_SPEC = re.compile(
    rf"(?P<name>{_NAME})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_ID = re.compile(r"[A-Za-z0-9_+.-]+:[0-9a-fA-F]+")


class PullSpecError(ValueError):
    """A pull spec breaks a rule; the message is OpenShift's."""


class PullSpec(msgspec.Struct, frozen=True):
    """The parts of a pull spec; absent ones are empty. `id` is a digest as a rule."""

    registry: str = ""
    namespace: str = ""
    name: str = ""
    tag: str = ""
    id: str = ""

    def __str__(self) -> str:
        """Return the exact form, with `library` for a name at the Hub that has no namespace."""
        if not self.namespace and self.registry in HUB_HOSTS:
            return self.replace(namespace="library").exact()
        return self.exact()

    def replace(self, **parts: str) -> PullSpec:
        """Return a copy with other parts."""
        return msgspec.structs.replace(self, **parts)

    def exact(self) -> str:
        """Return the parts as they are; an id goes before a tag."""
        if not self.name:
            return self.registry
        named = self.repository().name_string()
        if self.id:
            return f"{named}@{self.id}" if _ID.fullmatch(self.id) else f"{named}:{self.id}"
        return f"{named}:{self.tag}" if self.tag else named

    def name_string(self) -> str:
        """Return registry, namespace and name."""
        return "/".join(part for part in (self.registry, self.namespace, self.name) if part)

    def repository(self) -> PullSpec:
        """Return the pull spec without tag and id."""
        return self.replace(tag="", id="")

    def client_defaults(self) -> PullSpec:
        """Return what a Docker client makes of it: docker.io, library (there only), latest."""
        registry = self.registry or HUB
        namespace = self.namespace or ("library" if registry in HUB_HOSTS else "")
        tag = self.tag or ("" if self.id else "latest")
        return self.replace(registry=registry, namespace=namespace, tag=tag)

    def daemon_minimal(self) -> PullSpec:
        """Return the shortest form a daemon understands."""
        registry = HUB if self.registry in HUB_HOSTS else self.registry
        namespace = "" if registry in ("", HUB) and self.namespace == "library" else self.namespace
        return self.replace(registry=registry, namespace=namespace, tag="" if self.tag == "latest" else self.tag)

    def most_specific(self) -> PullSpec:
        """Return it without the tag where there is a digest."""
        return self.replace(tag="") if self.id else self

    def canonical_repository(self) -> str:
        """Return the repository in full: registry, namespace and name, the Hub's spelled out."""
        return self.repository().client_defaults().name_string()

    def means(self, other: PullSpec) -> bool:
        """Return whether two pull specs mean the same to a Docker client."""
        return self.client_defaults() == other.client_defaults()


def parse(text: str) -> PullSpec:
    """Return the parts of a pull spec. Raises PullSpecError with OpenShift's message."""
    name, tag, digest = _parts(text)
    registry, namespace, rest = _split(name)
    if not rest:  # a registry only: what looks like a tag is its port
        return PullSpec(registry=text)
    return PullSpec(registry, namespace, rest, tag, digest)


def check(text: str) -> None:
    """Raise PullSpecError, as `parse` does, where a text is no pull spec."""
    _parts(text)


def _parts(text: str) -> tuple[str, str, str]:
    """Return name, tag and digest; absent ones are empty."""
    found = _SPEC.fullmatch(text)
    if found is None:
        raise PullSpecError(_why_not(text))
    name, tag, digest = found.groups("")
    if len(name) > NAME_LENGTH_MAX:
        raise PullSpecError(f"repository name must not be more than {NAME_LENGTH_MAX} characters")
    if digest:
        _check_digest(digest)
    return name, tag, digest


def _split(name: str) -> tuple[str, str, str]:
    parts = name.split("/")
    if len(parts) == 1:
        host = "." in name or name.startswith("localhost")
        return (name, "", "") if host else ("", "", name)
    registry = ""
    if "." in parts[0] or ":" in parts[0] or parts[0] == "localhost":
        registry = parts.pop(0)
    if len(parts) == 1:
        return registry, "", parts[0]
    return registry, parts[0], "/".join(parts[1:])


def _check_digest(digest: str) -> None:
    if is_digest(digest):
        return
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm not in _DIGEST_LENGTHS:
        raise PullSpecError("unsupported digest algorithm")
    if len(hexadecimal) != _DIGEST_LENGTHS[algorithm]:
        raise PullSpecError("invalid checksum digest length")
    raise PullSpecError("invalid checksum digest format")


def _why_not(text: str) -> str:
    if not text:
        return "repository name must have at least one component"
    if _SPEC.fullmatch(text.lower()):
        return "repository name must be lowercase"
    return "invalid reference format"
