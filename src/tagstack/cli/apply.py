"""`tagstack apply`: sends every command in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tagstack.cli import session
from tagstack.cli.options import Output, Project, Writing
from tagstack.cli.sending import Sent, send, tell

if TYPE_CHECKING:
    from tagstack.adapters.nats_client import ServiceClient


def apply(
    *,
    filename: Annotated[
        tuple[str, ...], Parameter(name=["--filename", "-f"], required=True, negative="", allow_leading_hyphen=True)
    ],
    project: Project = Project(),  # noqa: B008  frozen
    writing: Writing = Writing(),  # noqa: B008
    output: Output = Output(),  # noqa: B008
) -> int:
    """Send the commands in a file, YAML or JSON, several documents.

    Any command kind: ImageStreamMapping, ImageStreamTag, ImageStream, RollbackTag, HoldTag, ReleaseTag,
    PromoteTag, DeleteImageStreamTag, DeleteImageStream, Image, ImageSignature, ImageAnnotations. A file
    that can't be read as a whole sends nothing; after a refused command the next one is sent all the same.

    Parameters
    ----------
    filename
        a file, or - for stdin; may be given several times
    """
    from tagstack.cli.documents import read_documents

    documents = [document for name in filename for document in read_documents(name)]
    namespace, form = project.default_namespace, output.format

    async def work(client: ServiceClient) -> int:
        several = len(documents) > 1
        code, sent = 0, list[Sent]()
        for number, document in enumerate(documents, 1):
            one = await send(client, document, namespace, writing)
            one.where = f"document {number}: " if several else ""
            sent.append(one)
            if form not in ("json", "yaml"):  # told as it happens
                code = await tell(client, [sent.pop()], form) or code
        return await tell(client, sent, form) if sent else code

    return session.run(project, work)
