"""`tagstack get`: image streams, tags and images, as the log's last word has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tagstack.cli import references, session
from tagstack.cli.failures import DONE, REFUSED, UsageError, report
from tagstack.cli.kinds import kind_of, split_resource
from tagstack.cli.listings import LISTINGS
from tagstack.cli.options import Flag, Output, Project
from tagstack.cli.output import plain, print_object, say
from tagstack.cli.tables import table

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient

KINDS = ("ImageStream", "ImageStreamTag", "ImageTag", "ImageStreamImage", "Image")
ALL_NAMESPACES = "*"
CLUSTER = "_"
API_VERSION = "image.openshift.io/v1"
CANDIDATES_MAX = 10  # named of an ambiguous prefix

_DIGEST_PREFIX = re.compile("(?:sha(?:256|512):)?[0-9a-f]{12,}")  # as long as what tables show of a digest
_IMAGES_OF_PREFIX = """
SELECT image FROM images
 WHERE image LIKE '%:%' AND (starts_with(image, $1) OR starts_with(split_part(image, ':', 2), $1))
 ORDER BY image LIMIT $2
"""

Object = dict[str, Any]


def get(
    resource: str,
    /,
    *names: str,
    all_namespaces: Annotated[bool, Flag, Parameter(name=["--all-namespaces", "-A"])] = False,
    project: Project = Project(),  # noqa: B008  frozen
    output: Output = Output(),  # noqa: B008
) -> int | None:
    """Show image streams, tags and images; a list without a name.

    Parameters
    ----------
    resource
        is (image stream), istag (image stream tag), itag (a tag with its wish and whole history),
        isimage (image of an image stream) or image
    names
        [NAMESPACE/]STREAM, STREAM:TAG, STREAM@IMAGE, or an image; of an image a unique prefix will do
    all_namespaces
        of every project
    """
    word, named = split_resource(resource)
    kind, names = kind_of(word, KINDS), ((named, *names) if named else names)
    if kind == "ImageStreamImage" and not names:
        raise UsageError(f"get {word} needs a NAME: [NAMESPACE/]STREAM@IMAGE")
    if all_namespaces and names:
        raise UsageError("a NAME and --all-namespaces can't go together")
    namespace = ALL_NAMESPACES if all_namespaces else project.default_namespace

    async def work(client: ServiceClient) -> int | None:
        if not names:
            await _list(client, kind, namespace, output.format)
            return REFUSED if client.unreadable else DONE
        found, code = await _named(client, kind, names, namespace)
        if found:
            _print(kind, found, output.format, single=len(names) == 1, namespaced=False)
        return code

    return session.run(project, work)


async def find(client: ServiceClient, kind: str, name: str, namespace: str) -> Object:
    """Return one object. Raises Answered with the Status that says no."""
    if kind == "Image":
        return await _image(client, name)
    if kind == "ImageStream":
        stream = references.image_stream_name(name, namespace)
        return await client.query(stream.namespace, kind, stream.name)
    space, rest = references.split_namespace(name, namespace)
    return await client.query(space, kind, rest)


async def _image(client: ServiceClient, name: str) -> Object:
    """Return an image by its name, or the one image whose digest begins like that."""
    from tagstack.adapters.nats_client import Answered
    from tagstack.application.replies import failure
    from tagstack.cli.asking import all_rows
    from tagstack.domain.errors import Conflict

    try:
        return await client.query(CLUSTER, "Image", name)
    except Answered as answer:
        if answer.status.get("reason") != "NotFound" or not _DIGEST_PREFIX.fullmatch(name):
            raise
        rows = await all_rows(client, _IMAGES_OF_PREFIX, [name, CANDIDATES_MAX + 1])
        if not rows:
            raise
    if len(rows) > 1:
        more = ", ..." if len(rows) > CANDIDATES_MAX else ""
        told = ", ".join(row["image"] for row in rows[:CANDIDATES_MAX])
        raise Answered(failure(Conflict(f'multiple images match the prefix "{name}": {told}{more}')))
    return await client.query(CLUSTER, "Image", rows[0]["image"])


async def _named(
    client: ServiceClient, kind: str, names: Sequence[str], namespace: str
) -> tuple[list[Object], int | None]:
    from tagstack.adapters.nats_client import Answered

    found: list[Object] = []
    code = None
    for name in names:
        try:
            found.append(await find(client, kind, name, namespace))
        except Answered as answer:
            code = code or report(answer)
    return found, code


async def _list(client: ServiceClient, kind: str, namespace: str, form: str) -> None:
    if kind == "Image":
        found = await _images(client)
    else:
        found = await client.items(namespace, kind)
    if not found and form in ("table", "wide"):
        where = "" if namespace == ALL_NAMESPACES or kind == "Image" else f" in namespace {namespace}"
        say(f"no {'images' if kind == 'Image' else 'objects'} found{where}")
        return
    _print(kind, found, form, single=False, namespaced=namespace == ALL_NAMESPACES and kind != "Image")


async def _images(client: ServiceClient) -> list[Object]:
    from tagstack.cli.asking import all_rows

    known = await all_rows(client, "SELECT image FROM images ORDER BY position")
    return [await client.query(CLUSTER, "Image", row["image"]) for row in known]


def _print(kind: str, found: list[Object], form: str, *, single: bool, namespaced: bool) -> None:
    if form in ("json", "yaml"):
        listed = {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": found}
        print_object(found[0] if single else listed, form)
    elif form == "name":
        for one in found:
            print(plain(f"{kind.lower()}.image.openshift.io/{one['metadata']['name']}"))
    else:
        listing, wide = LISTINGS[kind], form == "wide"
        rows = (listing.row(one, wide=wide, namespaced=namespaced) for one in found)
        table(listing.head(wide=wide, namespaced=namespaced), rows, wide=wide)
