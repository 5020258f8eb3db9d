"""compose.yaml: valid, and, where a container engine runs, a service that takes a mapping."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPOSE = Path(sys.executable).parent / "docker-compose"


def test_the_composition_is_valid() -> None:
    """The file has the services of a deployment, each with a health check, and the log on a volume."""
    done = subprocess.run(
        [COMPOSE, "-f", ROOT / "compose.yaml", "config", "--format", "json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"nats", "commands", "projector", "sql"}
    assert all("healthcheck" in service and service["volumes"] for service in services.values())


@pytest.fixture
def composition() -> Iterator[object]:
    """The whole composition, up and healthy; skipped where no engine runs."""
    from testcontainers.compose import DockerCompose

    docker = shutil.which("docker")
    engine = docker and subprocess.run([docker, "info"], capture_output=True).returncode == 0
    if not engine:
        pytest.skip("no container engine runs here")
    with DockerCompose(str(ROOT), build=True, wait=True) as compose:
        yield compose


@pytest.mark.timeout(600)
def test_a_deployment_takes_a_mapping(composition: object) -> None:
    """Through the published port of NATS a mapping is stored and answered."""
    import asyncio

    import nats

    async def send() -> dict[str, object]:
        nc = await nats.connect("nats://127.0.0.1:4222")
        image = {"dockerImageReference": f"r.example/test/app@sha256:{1:064x}"}
        body = {"kind": "ImageStreamMapping", "metadata": {"name": "app"}, "image": image, "tag": "latest"}
        reply = await nc.request("tagstack.commands.ci.test.app", json.dumps(body).encode(), timeout=10)
        await nc.close()
        answer: dict[str, object] = json.loads(reply.data)
        return answer

    assert asyncio.run(send())["status"] == "Success"
