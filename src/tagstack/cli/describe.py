"""`tagstack describe`: everything about one image stream, tag or image, for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tagstack.cli import references, session
from tagstack.cli.get import find
from tagstack.cli.history import TAG_HISTORY, hold_line
from tagstack.cli.kinds import kind_of, split_resource
from tagstack.cli.options import Output, Project
from tagstack.cli.output import NOTHING, cell, print_object, say, seconds, short

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

KINDS = ("ImageStream", "ImageStreamTag", "ImageStreamImage", "Image")
LABEL_WIDTH = 14
ITEMS_SHOWN_MAX = 10
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

Object = dict[str, Any]


def describe(
    resource: str,
    name: str | None = None,
    /,
    *,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """Tell everything about one image stream, tag or image.

    Parameters
    ----------
    resource
        is, istag, isimage or image
    name
        [NAMESPACE/]STREAM, STREAM:TAG, STREAM@IMAGE, or an image; of an image a unique prefix will do
    """
    from tagstack.cli.failures import UsageError

    word, named = split_resource(resource)
    kind, wanted = kind_of(word, KINDS), named or name
    if not wanted:
        raise UsageError(f"describe {word} needs a NAME")

    async def work(client: ServiceClient) -> None:
        found = await find(client, kind, wanted, project.default_namespace)
        if output.format in ("json", "yaml"):
            print_object(found, output.format)
        elif output.format == "name":
            say(f"{kind.lower()}.image.openshift.io/{found['metadata']['name']}")
        elif kind == "ImageStream":
            _image_stream(found)
        elif kind == "ImageStreamTag":
            space, tag = references.split_namespace(wanted, project.default_namespace)
            _image_stream_tag(found)
            say("History:")
            TAG_HISTORY.print(await client.items(space, "History", name=tag), "table")
        else:
            _image_object(found, kind)

    return session.run(project, work)


def line(label: str, value: Any) -> None:
    """Print one labelled value."""
    say(f"{label + ':':<{LABEL_WIDTH}} {cell(value)}")


def lines(label: str, values: Iterable[Any]) -> None:
    """Print labelled values below each other."""
    shown = [cell(value) for value in values] or [NOTHING]
    line(label, shown[0])
    for value in shown[1:]:
        say(" " * (LABEL_WIDTH + 1) + value)


def size_of(count: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit returns")


def _metadata(found: Object) -> None:
    meta = found["metadata"]
    line("Name", meta["name"])
    if meta.get("namespace"):
        line("Namespace", meta["namespace"])
    line("Created", seconds(meta.get("creationTimestamp")))
    for label in ("labels", "annotations"):
        if meta.get(label):
            lines(label.capitalize(), (f"{key}={value}" for key, value in sorted(meta[label].items())))


def _image_stream(found: Object) -> None:
    spec, status = found.get("spec") or {}, found.get("status") or {}
    _metadata(found)
    line("Generation", found["metadata"].get("generation"))
    line("Repository", status.get("dockerImageRepository") or NOTHING)
    line("Lookup", f"local={cell((spec.get('lookupPolicy') or {}).get('local'))}")
    wishes = {tag["name"]: tag for tag in spec.get("tags") or []}
    shown = {tag["tag"]: tag for tag in status.get("tags") or []}
    line("Tags", len(shown))
    for name in sorted(wishes | shown):
        say("")
        say(name, style="bold")
        _tag(shown.get(name, {}), wishes.get(name))


def _tag(shown: Object, wish: Object | None) -> None:
    if wish and wish.get("from"):
        say(f"  {wish_line(wish)}")
    if shown.get("hold"):
        say(f"  {hold_line(shown['hold'])}", style="yellow")
    items = shown.get("items") or []
    for position, item in enumerate(items[:ITEMS_SHOWN_MAX], 1):
        why = f": {item['reason']}" if item.get("reason") else ""
        mark = "*" if position == 1 else " "
        said = f"{item.get('origin', '')} by {item.get('actor', '')}{why}"
        say(f"  {mark} {seconds(item['created'])}  {short(item['image'])}  {item['dockerImageReference']}  ({said})")
    if len(items) > ITEMS_SHOWN_MAX:
        say(f"    and {len(items) - ITEMS_SHOWN_MAX} more: see tagstack history")


def wish_line(wish: Object) -> str:
    """Return what a tag's spec asks for."""
    source = wish["from"]
    space = f"{source['namespace']}/" if source.get("namespace") else ""
    follows = (wish.get("annotations") or {}).get("tagstack.dev/follow") == "true"
    told = f"{'follows' if follows else 'from'} {source.get('kind')} {space}{source.get('name')}"
    policy = wish.get("importPolicy") or {}
    flags = [flag for flag in ("scheduled", "insecure") if policy.get(flag)]
    flags += ["reference"] if wish.get("reference") else []
    return told + (f" ({', '.join(flags)})" if flags else "")


def _image_stream_tag(found: Object) -> None:
    _metadata(found)
    entry = found.get("entry") or {}
    line("Moved by", f"{entry.get('actor')} ({entry.get('origin')}) at position {entry.get('position')}")
    line("Reason", entry.get("reason") or NOTHING)
    if found.get("hold"):
        line("Hold", hold_line(found["hold"]))
    if (found.get("tag") or {}).get("from"):
        line("Spec", wish_line(found["tag"]))
    _image(found.get("image") or {})


def _image_object(found: Object, kind: str) -> None:
    _metadata(found)
    _image(found["image"] if kind == "ImageStreamImage" else found)


def _image(image: Object) -> None:
    line("Image", (image.get("metadata") or {}).get("name"))
    line("Pull spec", image.get("dockerImageReference"))
    data = image.get("dockerImageMetadata") or {}
    config = data.get("Config") or data.get("config") or {}
    line("Built", seconds(data.get("Created")))
    line("Platform", "/".join(filter(None, (data.get("Os") or data.get("OS"), data.get("Architecture")))) or NOTHING)
    layers = image.get("dockerImageLayers") or []
    line("Size", f"{size_of(data.get('Size') or sum(layer.get('size', 0) for layer in layers))}, {len(layers)} layers")
    for child in image.get("dockerImageManifests") or []:
        platform = "/".join(filter(None, (child.get("os"), child.get("architecture"), child.get("variant"))))
        line("Manifest", f"{child.get('digest')} {platform}")
    for label, key in (("Entrypoint", "Entrypoint"), ("Command", "Cmd"), ("User", "User"), ("Workdir", "WorkingDir")):
        if value := config.get(key):
            line(label, " ".join(value) if isinstance(value, list) else value)
    if config.get("Env"):
        lines("Environment", config["Env"])
    if config.get("Labels"):
        lines("Image labels", (f"{key}={value}" for key, value in sorted(config["Labels"].items())))
    if image.get("signatures"):
        line("Signatures", len(image["signatures"]))
