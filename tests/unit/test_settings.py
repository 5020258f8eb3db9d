"""Settings: every one documented, wrong ones told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagstack.apps.grants_file import read_grants
from tagstack.apps.settings import Settings, SettingsError, read_settings

OPERATIONS = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_every_setting_is_documented(name: str) -> None:
    """An operator finds each setting in docs/operations.md."""
    assert f"| `TAGSTACK_{name.upper()}` |" in OPERATIONS.read_text()


def test_options_win_over_variables() -> None:
    """What is said on the command line holds, the environment fills in the rest."""
    settings = read_settings({"TAGSTACK_HOME": "/a", "TAGSTACK_REPLICAS": "3"}, home="/b", nats=None)
    assert (settings.home, settings.replicas) == ("/b", 3)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("TAGSTACK_NO_SUCH", "1", "TAGSTACK_NO_SUCH: there is no such setting"),
        ("TAGSTACK_REPLICAS", "three", "TAGSTACK_REPLICAS"),
        ("TAGSTACK_REPLICAS", "0", "replicas must be at least 1, got 0"),
        ("TAGSTACK_UNSORTED_EVENTS_MAX", "-1", "unsorted_events_max must be at least 0, got -1"),
        ("TAGSTACK_NATS_PORT", "70000", "nats_port must be at most 65535, got 70000"),
    ],
)
def test_a_wrong_variable_is_told_by_name_and_value(variable: str, value: str, told: str) -> None:
    """Nothing is ignored in silence: an unknown name, a wrong type, a value out of bounds."""
    with pytest.raises(SettingsError, match=told):
        read_settings({variable: value})


def test_a_setting_that_can_be_turned_off_takes_zero() -> None:
    """Where 0 means never, it is no mistake."""
    assert read_settings({"TAGSTACK_UNSORTED_EVENTS_MAX": "0"}).unsorted_events_max == 0


def test_client_variables_are_not_ours() -> None:
    """The variables that the client verbs read do not disturb a service."""
    assert read_settings({"TAGSTACK_ACTOR": "me", "PATH": "/bin"}) == Settings()


def test_grants_are_read_or_told_to_be_wrong(tmp_path: Path) -> None:
    """A grants file gives each actor its projects; one of another form is an error that names it."""
    path = tmp_path / "grants.yaml"
    path.write_text("ci: [dev]\n'*': [public]\n")
    grants = read_grants(str(path))
    assert grants.allows("ci", "dev")
    assert grants.allows("someone", "public")
    assert not grants.allows("someone", "dev")
    path.write_text("- ci")
    with pytest.raises(SettingsError, match=r"grants\.yaml"):
        read_grants(str(path))
