"""Pull specs: parsed, written, compared."""

from __future__ import annotations

from typing import Any

import msgspec

from tagstack.domain import pull_spec
from tagstack.domain.pull_spec import PullSpec
from tests.conformance.adapters import adapter

FORMS = {
    "string": str,
    "exact": PullSpec.exact,
    "as_repository_string": lambda spec: str(spec.repository()),
    "name_string": PullSpec.name_string,
    "daemon_minimal_exact": lambda spec: spec.daemon_minimal().exact(),
    "docker_client_defaults_exact": lambda spec: spec.client_defaults().exact(),
    "most_specific_exact": lambda spec: spec.most_specific().exact(),
}


@adapter("parse_reference")
def parse(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Parse a pull spec."""
    try:
        return {"ok": True, "reference": msgspec.to_builtins(pull_spec.parse(when["spec"]))}
    except pull_spec.PullSpecError as error:
        return {"ok": False, "error": str(error)}


@adapter(*FORMS)
def write(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Write a pull spec in one of its forms."""
    return {"string": FORMS[when["op"]](PullSpec(**when["reference"]))}


@adapter("canonical_repository")
def canonical(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Write the repository of a pull spec in full."""
    return {"string": pull_spec.parse(when["spec"]).canonical_repository()}


@adapter("reference_equal")
def equal(given: dict[str, Any], when: dict[str, Any]) -> dict[str, Any]:
    """Compare two pull specs, both ways round."""
    one, other = PullSpec(**when["a"]), PullSpec(**when["b"])
    return {"equal": one.means(other), "symmetric": one.means(other) == other.means(one)}
