"""Grants: who may take images out of another project."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from tests.examples_nats import Json, client_of, digest, mapping, run, send, worker

GRANTS = """
ann: [dev]
root: ["*"]
"*": [shared]
"""


def promotion(namespace: str) -> Json:
    """Return a promotion from another project."""
    source = {"namespace": namespace, "name": "app:latest"}
    return {"kind": "PromoteTag", "metadata": {"name": "app:prod"}, "from": source}


def reference(namespace: str, kind: str = "ImageStreamTag", **annotations: str) -> Json:
    """Return an istag that takes its image from another project."""
    name = "app:latest" if kind == "ImageStreamTag" else f"app@{digest(1)}"
    spec: dict[str, Any] = {"from": {"kind": kind, "namespace": namespace, "name": name}}
    return {"kind": "ImageStreamTag", "metadata": {"name": "app:copy"}, "tag": spec | {"annotations": annotations}}


def image_stream(namespace: str) -> Json:
    """Return an image stream one of whose tags comes from another project."""
    tag = {"name": "copy", "from": {"kind": "ImageStreamTag", "namespace": namespace, "name": "app:latest"}}
    return {"kind": "ImageStream", "metadata": {"name": "app"}, "spec": {"tags": [tag]}}


KINDS = (
    promotion,
    reference,
    image_stream,
    lambda namespace: reference(namespace, "ImageStreamImage"),
    lambda namespace: reference(namespace, **{"tagstack.dev/follow": "true"}),
)


def test_without_a_grant_nothing_comes_from_another_project(nats_url: str, tmp_path: Path) -> None:
    """Copy, pin, follow, promotion and an image stream's spec are Forbidden; the message names actor and project."""
    (tmp_path / "grants.yaml").write_text(GRANTS)

    async def scenario() -> None:
        async with worker(nats_url, grants=str(tmp_path / "grants.yaml")), client_of(nats_url) as client:
            for namespace in ("dev", "shared", "secret"):
                await send(client, f"owner.{namespace}.app", body(mapping("app", 1)))
            for number, make in enumerate(KINDS):
                found = {}
                for actor, namespace in product(("ann", "bob", "root"), ("dev", "shared", "secret")):
                    target = f"{actor}.prod{number}-{actor}-{namespace}.app"
                    answer = await send(client, target, body(make(namespace)))
                    found[actor, namespace] = answer.get("reason", "")
                    if answer["status"] == "Failure":
                        assert actor in answer["message"] and namespace in answer["message"]
                refused = {who for who, reason in found.items() if reason == "Forbidden"}
                assert refused == {("ann", "secret"), ("bob", "dev"), ("bob", "secret")}
                assert set(found.values()) == {"", "Forbidden"}

    run(scenario)


def test_ones_own_project_needs_no_grant(nats_url: str, tmp_path: Path) -> None:
    """Within a project images go from one image stream to another without any."""
    (tmp_path / "grants.yaml").write_text("{}")

    async def scenario() -> None:
        async with worker(nats_url, grants=str(tmp_path / "grants.yaml")), client_of(nats_url) as client:
            await send(client, "ann.dev.app", body(mapping("app", 1)))
            source = {"name": "app:latest"}
            command = {"kind": "PromoteTag", "metadata": {"name": "web:latest"}, "from": source}
            assert (await send(client, "ann.dev.web", body(command)))["status"] == "Success"

    run(scenario)


def body(command: Json) -> bytes:
    """Return a command as it is sent."""
    return json.dumps(command).encode()
