"""`tagstack diff`: what changed between two times, two entries of a history stack, or two images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tagstack.cli import references, session
from tagstack.cli.describe import size_of
from tagstack.cli.failures import UsageError
from tagstack.cli.history import rows_at
from tagstack.cli.options import Output, Project
from tagstack.cli.output import cell, print_object, say, seconds, short
from tagstack.cli.tables import Relation
from tagstack.domain import diff as domain_diff
from tagstack.domain.names import ImageStreamName, split_tag

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

_MOVES = ("namespace", "image_stream", "tag", "change", "previous_image", "image", "actor", "reason")
MOVES = Relation(_MOVES, (*_MOVES, "since"), "{namespace}/{image_stream}:{tag}", ("actor", "reason"))

Object = dict[str, Any]


class Side(msgspec.Struct, frozen=True):
    """One side of a comparison.

    Of a whole project `name` is empty; of an image stream it holds the stream; of a tag `stream:tag`.
    Exactly one of `time`, `stack_position` and `image` is set.
    """

    namespace: str
    name: str
    time: str = ""
    stack_position: int = 0
    image: str = ""

    @property
    def of_tags(self) -> bool:
        """Return whether it stands for many tags, not for one image."""
        return not self.image and ":" not in self.name

    def __str__(self) -> str:
        at = self.image or (f"#{self.stack_position}" if self.stack_position else seconds(self.time))
        return f"{self.namespace}/{self.name}@{at}"


def diff(
    before: str,
    after: str,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """What changed between two times, two entries of a history stack, or two images.

    Parameters
    ----------
    before
        images: STREAM:TAG[@TIME|@#N], N as in `tagstack history`, or STREAM@IMAGE; tags: STREAM@TIME, NAMESPACE/@TIME
    after
        the other side, written alike
    """
    sides = side(before, project.default_namespace), side(after, project.default_namespace)
    if sides[0].of_tags != sides[1].of_tags:
        raise UsageError(f"tags can't be compared with an image: {before} {after}")

    async def work(client: ServiceClient) -> None:
        if sides[0].of_tags:
            listed = [await _tags(client, one) for one in sides]
            moved = domain_diff.tags(*listed)
            if not moved and output.format in ("table", "wide"):
                say("no tag moved" if any(listed) else f"there were no tags, neither at {sides[0]} nor at {sides[1]}")
            else:
                MOVES.print(moved, output.format)
            return
        images = [await _image(client, one) for one in sides]
        found = {"before": _name(images[0]), "after": _name(images[1])} | domain_diff.images(*images)
        if output.format in ("json", "yaml"):
            print_object(found, output.format)
        else:
            _tell(sides, found)

    return session.run(project, work)


def side(text: str, namespace: str) -> Side:
    """Return what a side means. Raises UsageError."""
    ref, _, at = text.partition("@")
    space, slash, rest = ref.partition("/")
    if slash and rest in ("", "*"):
        return Side(space, "", time=references.moment(at or "now"))
    space, name = references.split_namespace(ref, namespace)
    if ":" in name:
        references.tag_name(name, namespace)
        number = at.removeprefix("#")
        if number.isdigit() and int(number) > 0:
            return Side(space, name, stack_position=int(number))
        return Side(space, name, time=references.moment(at or "now"))
    try:
        return Side(space, name, time=references.moment(at or "now"))
    except UsageError:
        if not set(at) <= set("0123456789abcdef") and ":" not in at:
            raise
    return Side(space, name, image=at)


async def _tags(client: ServiceClient, one: Side) -> list[Object]:
    rows = [row for row in await rows_at(client, one.time, one.namespace) if one.name in ("", row["image_stream"])]
    if not rows and one.name:  # says so where there never was such an image stream
        await client.items(one.namespace, "AsOf", name=one.name, time=one.time)
    return rows


async def _image(client: ServiceClient, one: Side) -> Object:
    """Return the image of a side: through its image stream, else by its own name."""
    from tagstack.adapters.nats_client import Answered

    image = one.image or await _of_history(client, one)
    stream = one.name.partition(":")[0]
    try:
        found = await client.query(one.namespace, "ImageStreamImage", f"{stream}@{image}")
    except Answered as answer:
        if answer.status.get("reason") != "NotFound" or one.image:
            raise
        return await client.query("_", "Image", image)
    return dict(found["image"])


async def _of_history(client: ServiceClient, one: Side) -> str:
    from tagstack.domain.errors import NotFound

    rows = await client.items(one.namespace, "History", name=one.name)
    for row in rows:
        if one.stack_position:
            chosen = row["stack_position"] == one.stack_position
        else:
            chosen = row["valid_from"] <= one.time and (row["valid_to"] is None or one.time < row["valid_to"])
        if chosen and row["image"]:
            return str(row["image"])
    stream, tag = split_tag(one.name)
    told = f"{ImageStreamName(one.namespace, stream)}:{tag}"
    if one.stack_position:
        raise NotFound(f"{told} has no image at stack position {one.stack_position}; there are {len(rows)} entries")
    raise NotFound(f"{told} pointed at no image at {one.time}")


def _name(image: Object) -> str:
    return str(image["metadata"]["name"])


def _tell(sides: tuple[Side, Side], found: Object) -> None:
    say(f"--- {sides[0]}  {short(found['before'])}", style="red")
    say(f"+++ {sides[1]}  {short(found['after'])}", style="green")
    if found["before"] == found["after"]:
        say("the same image")
        return
    for title in ("config", "labels", "env"):
        for key, change in found[title].items():
            for mark, style, value in (("-", "red", change["before"]), ("+", "green", change["after"])):
                if value is not None:
                    say(f"{mark} {title} {key}={cell(value)}", style=style)
    layers, size = found["layers"], found["size"]
    for mark, style, name in (("-", "red", "removed"), ("+", "green", "added")):
        for layer in layers[name]:
            say(f"{mark} layer {short(layer['layer'])} {size_of(layer['size'])}", style=style)
    shared = sum(layer["size"] for layer in layers["shared"])
    say(f"  {len(layers['shared'])} layers shared ({size_of(shared)})")
    change = size["after"] - size["before"]
    sign = "+" if change >= 0 else "-"
    say(f"  size {size_of(size['before'])} -> {size_of(size['after'])} ({sign}{size_of(abs(change))})")
