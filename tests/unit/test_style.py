"""The rules of the house, checked with the tools that know them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["ruff", "format", "mypy", "imports"],
)
@pytest.mark.timeout(300)
def test_the_code_keeps_the_rules(command: list[str]) -> None:
    """Lint, format, types and the direction of imports are as declared in pyproject.toml."""
    done = subprocess.run([TOOLS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_of_a_size_that_can_be_read() -> None:
    """Python files keep below 300 lines (the domain 200), SQL files below 100."""
    sizes = {path: path.read_text().count("\n") for path in ROOT.glob("src/**/*.py")}
    limits = {path: 200 if "domain" in path.parts else 300 for path in sizes}
    sql = {
        path: path.read_text().count("\n") for path in (*ROOT.glob("projections/**/*.sql"), *ROOT.glob("docs/**/*.sql"))
    }
    too_long = [path for path, lines in sizes.items() if lines > limits[path]]
    assert too_long + [path for path, lines in sql.items() if lines > 100] == []
