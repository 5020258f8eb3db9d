"""What a nats-server tells of itself over HTTP; it has to be started with the options `MONITORED`."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import urlopen

from tagstack.adapters.nats_server import NatsServer

MONITORED = 'http: "127.0.0.1:-1"'  # any free port, as the ports file says


def told(server: NatsServer, path: str) -> Any:
    """Return a server's answer to a request, such as `connz?subs=true`."""
    [ports] = server.folder.glob("*.ports")
    [monitoring] = json.loads(ports.read_text())["monitoring"]
    with urlopen(f"{monitoring}/{path}") as answer:
        return json.load(answer)
