"""Bodies of commands on two image streams of one project, as anyone might send them, sensible or not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.examples import digest, pull_spec

STREAMS = ("app", "dev")
IMAGES = ("1", "2", "3")
KINDS = ("ImageStreamTag", "ImageStreamImage", "DockerImage")

streams = st.sampled_from(("app", "app", "app", "dev"))
tags = st.sampled_from(("a", "a", "b", "c", "v1"))
images = st.sampled_from(IMAGES)
maybe = st.booleans()


@st.composite
def names(draw: st.DrawFn) -> str:
    """A tag of one of the image streams."""
    return f"{draw(streams)}:{draw(tags)}"


@st.composite
def sources(draw: st.DrawFn) -> dict[str, str]:
    """What a tag may come from: tags and images of both image streams, and a registry."""
    kind = draw(st.sampled_from(KINDS))
    if kind == "ImageStreamTag":
        return {"kind": kind, "name": draw(st.one_of(tags, names()))}
    if kind == "ImageStreamImage":
        return {"kind": kind, "name": f"{draw(streams)}@{digest(draw(images))[: draw(st.sampled_from((9, 71)))]}"}
    return {"kind": kind, "name": f"quay.io/some/image:{draw(tags)}"}


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """The wish for a tag."""
    spec: dict[str, Any] = {"from": draw(sources()), "reference": draw(maybe)}
    if draw(maybe):
        spec["generation"] = draw(st.sampled_from((0, 1, 7)))
    return spec


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    """A push, by one of two pull specs."""
    image = digest(draw(images))
    reference = pull_spec(image, draw(st.sampled_from(("test/app", "mirror/app"))))
    posted = {"metadata": {"name": image}, "dockerImageReference": reference}
    return {"kind": "ImageStreamMapping", "metadata": {"name": draw(streams)}, "image": posted, "tag": draw(tags)}


@st.composite
def image_streams(draw: st.DrawFn) -> dict[str, Any]:
    """An image stream with some tags, and sometimes protected ones."""
    wanted = draw(st.dictionaries(tags, specs(), max_size=3))
    meta: dict[str, Any] = {"name": draw(streams), "labels": {"team": draw(images)}}
    if draw(maybe):
        meta["annotations"] = {"tagstack.dev/protected-tags": "v*"}
    spec = {"tags": [{"name": name, **tag} for name, tag in wanted.items()], "lookupPolicy": {"local": draw(maybe)}}
    return {"kind": "ImageStream", "metadata": meta, "spec": spec}


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """The spec of one tag, set or removed."""
    if draw(maybe):
        return {"kind": "ImageStreamTag", "metadata": {"name": draw(names())}, "tag": draw(specs())}
    body = {"kind": "ImageTag", "metadata": {"name": draw(names())}}
    return body | ({"spec": draw(specs())} if draw(maybe) else {})


@st.composite
def rollbacks(draw: st.DrawFn) -> dict[str, Any]:
    """A rollback by any of its ways."""
    to = draw(
        st.one_of(
            st.just({}),
            st.fixed_dictionaries({"steps": st.integers(1, 4)}),
            st.fixed_dictionaries({"stackPosition": st.integers(1, 4)}),
            st.fixed_dictionaries({"image": images.map(digest)}),
        )
    )
    return {"kind": "RollbackTag", "metadata": {"name": draw(names())}, "to": to, "hold": draw(maybe)}


@st.composite
def holds(draw: st.DrawFn) -> dict[str, Any]:
    """A hold, or its end."""
    body = draw(st.sampled_from(({"kind": "HoldTag"}, {"kind": "ReleaseTag", "advance": True}, {"kind": "ReleaseTag"})))
    return {**body, "metadata": {"name": draw(names())}}


@st.composite
def promotions(draw: st.DrawFn) -> dict[str, Any]:
    """A copy with its provenance."""
    return {"kind": "PromoteTag", "metadata": {"name": draw(names())}, "from": {"name": draw(names())}}


@st.composite
def deletes(draw: st.DrawFn) -> dict[str, Any]:
    """The end of a tag, seldom of an image stream."""
    if draw(st.integers(0, 3)):
        return {"kind": "DeleteImageStreamTag", "metadata": {"name": draw(names())}, "force": draw(maybe)}
    return {"kind": "DeleteImageStream", "metadata": {"name": draw(streams)}, "force": draw(maybe)}


bodies = st.one_of(
    mappings(), mappings(), configurations(), rollbacks(), holds(), holds(), promotions(), image_streams(), deletes()
)


@st.composite
def told(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A story that begins with pushes, so that there is something to speak about."""
    pushes = draw(st.lists(mappings(), min_size=2, max_size=6))
    return pushes + draw(st.lists(bodies, min_size=1, max_size=14))


stories = told()
