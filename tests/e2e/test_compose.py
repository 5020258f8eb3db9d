"""compose.yaml and compose.cluster.yaml: valid, and, where a container engine runs, a service that takes a mapping."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tagstack.adapters.nats_server import executable
from tagstack.adapters.nats_streams import EVENTS_STREAM, stream_info
from tagstack.bench.cluster import free_ports
from tests.examples_nats import ask, client_of, mapping, worker

ROOT = Path(__file__).parent.parent.parent
COMPOSE = Path(sys.executable).parent / "docker-compose"


ONE = ["compose.yaml"]
CLUSTER = ["compose.yaml", "compose.cluster.yaml"]
NODES = ("nats", "nats-2", "nats-3")
REPLICAS = 3


def composed(files: list[str]) -> dict[str, Any]:
    """Return a composition as the engine would get it."""
    named = [argument for file in files for argument in ("-f", ROOT / file)]
    done = subprocess.run([COMPOSE, *named, "config", "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_composition_is_valid() -> None:
    """The file has the services of a deployment, each with a health check, and the log on a volume."""
    services = composed(ONE)["services"]
    assert set(services) == {"nats", "commands", "projector", "sql"}
    assert all("healthcheck" in service and service["volumes"] for service in services.values())


def test_the_cluster_has_three_nodes_with_a_volume_each() -> None:
    """Each has a name and files of its own, and the workers wait for all of them, know them, and ask for replicas."""
    services = composed(CLUSTER)["services"]
    assert {services[node]["environment"]["NODE"] for node in NODES} == set(NODES)
    assert len({services[node]["volumes"][0]["source"] for node in NODES}) == len(NODES)
    for name in ("commands", "projector", "sql"):
        environment = services[name]["environment"]
        assert environment["TAGSTACK_NATS"] == ",".join(f"nats://{node}:4222" for node in NODES)
        assert environment["TAGSTACK_REPLICAS"] == str(REPLICAS)
        assert set(services[name]["depends_on"]) == set(NODES)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[str]]:
    """The URLs of three servers that run the cluster's configuration on this machine."""
    config = composed(CLUSTER)["configs"]["nats"]["content"].replace("$$", "$")
    ports = free_ports(2 * len(NODES))
    for number, node in enumerate(NODES):
        config = config.replace(f"nats://{node}:6222", f"nats://127.0.0.1:{ports[len(NODES) + number]}")
    running = []
    for number, node in enumerate(NODES):
        own = config.replace("0.0.0.0:4222", f"127.0.0.1:{ports[number]}").replace("127.0.0.1:8222", "127.0.0.1:-1")
        own = own.replace("0.0.0.0:6222", f"127.0.0.1:{ports[len(NODES) + number]}")
        path = tmp_path / f"{node}.conf"
        path.write_text(own.replace("/data", str(tmp_path / node)))
        environment = os.environ | {"NODE": node}
        running.append(subprocess.Popen([executable(), "-c", path], env=environment, stderr=subprocess.DEVNULL))
    yield [f"nats://127.0.0.1:{port}" for port in ports[: len(NODES)]]
    for process in running:
        process.kill()
        process.wait()


def test_servers_with_the_clusters_configuration_keep_three_replicas(nodes: list[str]) -> None:
    """They find each other and know themselves by name; a worker stores an event on all of them."""

    async def scenario() -> None:
        async with client_of(",".join(nodes)) as client, worker(",".join(nodes), replicas=REPLICAS):
            assert (await ask(client, "prod.api", mapping("api", 1)))["status"] == "Success"
            cluster = (await stream_info(client, EVENTS_STREAM))["cluster"]
            assert {cluster["leader"], *(replica["name"] for replica in cluster["replicas"])} == set(NODES)

    asyncio.run(scenario())


@pytest.fixture(params=[ONE, CLUSTER], ids=["one server", "cluster"])
def composition(request: pytest.FixtureRequest) -> Iterator[object]:
    """A whole composition, up and healthy; skipped where no engine runs."""
    from testcontainers.compose import DockerCompose

    docker = shutil.which("docker")
    engine = docker and subprocess.run([docker, "info"], capture_output=True).returncode == 0
    if not engine:
        pytest.skip("no container engine runs here")
    with DockerCompose(str(ROOT), request.param, build=True, wait=True) as compose:
        yield compose


@pytest.mark.timeout(600)
def test_a_deployment_takes_a_mapping(composition: object) -> None:
    """Through the published port of NATS a mapping is stored and answered."""
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
