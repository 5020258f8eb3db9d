"""The program itself: its verbs, what it imports, and what it makes of its arguments."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tagstack.cli.main import VERBS, run, verb_first

HEAVY = ("nats", "duckdb", "faststream", "pyarrow", "yaml", "prompt_toolkit", "uvicorn")
VERBS_OF_THE_CONTRACT = (
    *("up", "apply", "tag", "promote", "rollback", "hold", "release", "get", "describe", "delete", "history", "log"),
    *("diff", "as-of", "watch", "sql", "dead", "worker", "status", "rebuild"),
)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names every verb with what it does, exit 0."""
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in VERBS_OF_THE_CONTRACT:
        assert f" {verb} " in out, verb


@pytest.mark.parametrize("verb", [verb for verb, *_ in VERBS])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`VERB --help` says how to use it, exit 0."""
    assert run([verb, "--help"]) == 0
    assert f"tagstack {verb}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """`--help` is fast because nothing heavy is imported before a verb runs."""
    code = (
        "import sys; from tagstack.cli.main import run; run(['--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version."""
    from tagstack import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The completion script of each shell knows the verbs."""
    assert run(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "rollback" in out and "stack-position" in out


def test_options_before_the_verb_are_its_options() -> None:
    """Common options may stand before the verb."""
    assert verb_first(["-n", "a", "--dry-run", "hold", "x:y"]) == ["hold", "x:y", "-n", "a", "--dry-run"]
    assert verb_first(["--server=s", "get", "is", "--", "-x"]) == ["get", "is", "--server=s", "--", "-x"]
    assert verb_first(["--help"]) == ["--help"]
    assert verb_first(["-n"]) == ["-n"]


def test_a_wrong_verb_or_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown verb or option is told in one line, exit 2."""
    for arguments in (["nonsense"], ["get", "is", "--nonsense"], ["rollback"], ["get", "is", "-o", "xml"]):
        assert run(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1
