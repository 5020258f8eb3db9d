"""Pull specs: parsed without adding anything, and written in every form."""

from __future__ import annotations

import pytest

from tagstack.domain.pull_spec import PullSpec, PullSpecError, parse
from tests.examples import digest

ID = digest("a")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ruby", ("", "", "ruby", "", "")),
        ("ruby:2.2", ("", "", "ruby", "2.2", "")),
        (f"ruby@{ID}", ("", "", "ruby", "", ID)),
        (f"ruby:2.2@{ID}", ("", "", "ruby", "2.2", ID)),
        ("centos/ruby", ("", "centos", "ruby", "", "")),
        ("a/b/c/d:t", ("", "a", "b/c/d", "t", "")),
        ("localhost/ruby", ("localhost", "", "ruby", "", "")),
        ("quay.io/ruby", ("quay.io", "", "ruby", "", "")),
        ("reg:5000/a/b/c:t", ("reg:5000", "a", "b/c", "t", "")),
        ("172.30.56.218:5000/test/ruby@" + ID, ("172.30.56.218:5000", "test", "ruby", "", ID)),
        ("quay.io", ("quay.io", "", "", "", "")),
        ("localhost:5000", ("localhost:5000", "", "", "", "")),
    ],
)
def test_a_pull_spec_has_these_parts(text: str, parts: tuple[str, ...]) -> None:
    """The first component is a registry only if it looks like a host."""
    found = parse(text)
    assert (found.registry, found.namespace, found.name, found.tag, found.id) == parts
    assert parse(found.exact()).exact() == found.exact()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "repository name must have at least one component"),
        ("Ruby", "repository name must be lowercase"),
        ("a//b", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("http://a/b", "invalid reference format"),
        ("a@sha256:" + "0" * 32, "invalid checksum digest length"),
        ("a@sha256:" + "A" * 64, "invalid checksum digest format"),
        ("a@md5:" + "0" * 32, "unsupported digest algorithm"),
        ("a/" + "b" * 254, "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_no_pull_spec_is_refused(text: str, why: str) -> None:
    """With OpenShift's reason."""
    with pytest.raises(PullSpecError) as refused:
        parse(text)
    assert str(refused.value) == why


def test_what_is_almost_a_pull_spec_is_refused_as_fast() -> None:
    """However long: the time does not grow with the ways in which it can be cut into words."""
    for text in ("a" * 100_000 + "!", "a-" * 50_000 + "!", "a/" * 50_000 + "A!", "a." * 50_000 + "_"):
        with pytest.raises(PullSpecError):
            parse(text)


def test_the_hub_has_several_hosts_and_a_namespace_nobody_writes() -> None:
    """Each form knows them."""
    spec = parse("index.docker.io/ruby:latest")
    assert str(spec) == "index.docker.io/library/ruby:latest"
    assert spec.daemon_minimal().exact() == "docker.io/ruby"
    assert parse("ruby").client_defaults().exact() == "docker.io/library/ruby:latest"
    assert parse("ruby:2").canonical_repository() == "docker.io/library/ruby"
    assert parse("quay.io/ruby").client_defaults().exact() == "quay.io/ruby:latest"


def test_an_id_comes_before_a_tag_and_makes_it_needless() -> None:
    """What is no digest is written after a colon."""
    assert parse(f"a:t@{ID}").exact() == f"a@{ID}"
    assert parse(f"a:t@{ID}").most_specific() == parse(f"a@{ID}")
    assert PullSpec(name="a", id="d0a28ab59a").exact() == "a:d0a28ab59a"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ruby", "docker.io/library/ruby:latest", True),
        ("ruby", "ruby:2", False),
        ("quay.io/a", "quay.io/library/a", False),
        ("a/ruby", "docker.io/a/ruby:latest", True),
    ],
)
def test_pull_specs_that_mean_the_same_are_equal(one: str, other: str, same: bool) -> None:
    """As a Docker client takes them, both ways round."""
    assert parse(one).means(parse(other)) is parse(other).means(parse(one)) is same
