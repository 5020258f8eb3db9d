"""Settings: every one documented, wrong ones told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagstack.apps.grants_file import read_grants
from tagstack.apps.settings import Settings, SettingsError, read_settings
from tagstack.cli.failures import USAGE
from tagstack.cli.main import run

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
    ("variable", "value", "rule"),
    [
        ("TAGSTACK_REPLICAS", "three", "must be a whole number from 1 to 5"),
        ("TAGSTACK_REPLICAS", "0", "must be a whole number from 1 to 5"),
        ("TAGSTACK_NATS_PORT", "70000", "must be a whole number from 0 to 65535"),
        ("TAGSTACK_HTTP_PORT", "", "must be a whole number from 0 to 65535"),
        ("TAGSTACK_IN_FLIGHT_MAX", "0", "must be a whole number of at least 1"),
        ("TAGSTACK_UNSORTED_EVENTS_MAX", "-1", "must be a whole number of at least 0"),
        ("TAGSTACK_SQL_TIMEOUT_S", "nan", "must be a number of seconds from 1 to 86400"),
        ("TAGSTACK_TRANSPORT", "slow", "must be fast or plain"),
        ("TAGSTACK_LOG_LEVEL", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        *(
            ("TAGSTACK_SYNC_INTERVAL", value, "must be always, or a duration above 0 such as 500ms, 1s or 2m")
            for value in ("never", "", "0s", "-1s", "5", "Always", '1s", port: 1')
        ),
    ],
)
def test_a_wrong_value_is_told_by_variable_rule_and_value(
    variable: str, value: str, rule: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong type, or a value out of bounds, ends `tagstack up` with exit 2 and a line that says all one needs.

    Seen to fail when `_checked` tells the field of the struct, and with `sync_interval: str`.
    """
    monkeypatch.setenv(variable, value)
    assert run(["up"]) == USAGE
    assert capsys.readouterr().err == f"error: {variable} {rule}, got {value!r}\n"


def test_an_unknown_variable_is_told() -> None:
    """Nothing is ignored in silence."""
    with pytest.raises(SettingsError, match="TAGSTACK_NO_SUCH: there is no such setting; there are TAGSTACK_BATCH"):
        read_settings({"TAGSTACK_NO_SUCH": "1"})


def test_a_wrong_option_is_told_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Who gave an option and no variable reads the option's name."""
    assert run(["up", "--nats-port", "70000"]) == USAGE
    assert capsys.readouterr().err == "error: --nats-port must be a whole number from 0 to 65535, got 70000\n"


@pytest.mark.parametrize("value", ["always", "1s", "500ms", "1m30s", "0.5s"])
def test_a_sync_interval_is_written_as_in_nats_server(value: str) -> None:
    """What nats-server takes is taken, and read as it stands."""
    assert read_settings({"TAGSTACK_SYNC_INTERVAL": value}).sync_interval == value


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
