"""Which registries images may come from: hosts with an optional port, `*` standing for anything.

An entry without a port means the transport's default port: 443, or 80 for an insecure one. What a
repository held before the list changed stays allowed. Source: OpenShift's registry whitelister.
"""

from __future__ import annotations

import re

from tagstack.domain import pull_spec
from tagstack.domain.pull_spec import HUB, HUB_HOSTS, PullSpec

SHOWN_MAX = 5  # entries that a refusal names
DEFAULT_PORTS = {"secure": "443", "insecure": "80", "any": ""}


class AllowList:
    """Allowed registries, as `host` or `host:port` patterns; `insecure` sets their default port."""

    def __init__(self, entries: list[str], *, insecure: bool = False, repositories: list[str] | None = None) -> None:
        default = DEFAULT_PORTS["insecure" if insecure else "secure"]
        self._entries = [_host_and_port(entry, default) for entry in entries]
        self._repositories = {_repository(pull_spec.parse(each)) for each in repositories or []}

    def refusal(self, hostname: str, transport: str = "secure") -> str | None:
        """Return why a registry is refused, None where it is allowed. Transports: secure, insecure, any."""
        host, port = _host_and_port(hostname, DEFAULT_PORTS[transport])
        hosts = [HUB, host] if host in HUB_HOSTS else [host]
        if any(_matches(each, port, entry) for each in hosts for entry in self._entries):
            return None
        if not self._entries:
            return f'registry "{hostname}" not allowed by empty whitelist'
        told = [f'"{host}:{port}"' for host, port in self._entries]
        more = ""
        if len(told) > SHOWN_MAX:
            more = f", and {len(told) - SHOWN_MAX + 1} more ..."
            told = told[: SHOWN_MAX - 1]
        return f'registry "{hostname}" not allowed by whitelist: {", ".join(told)}{more}'

    def refusal_of(self, spec: PullSpec, transport: str = "secure") -> str | None:
        """Return why a pull spec's registry is refused, None where it, or its repository, is allowed."""
        if _repository(spec) in self._repositories:
            return None
        default = DEFAULT_PORTS[transport]
        hostname = spec.registry or (f"{HUB}:{default}" if default else HUB)
        return self.refusal(hostname, transport)


def _host_and_port(text: str, default: str) -> tuple[str, str]:
    host, _, port = text.partition(":")
    return host, port or default


def _repository(spec: PullSpec) -> PullSpec:
    return spec.client_defaults().repository()


def _matches(host: str, port: str, entry: tuple[str, str]) -> bool:
    if not _like(host, entry[0]):
        return False
    return _like(port, entry[1]) if port else entry[1] in ("80", "443", "*")


def _like(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
