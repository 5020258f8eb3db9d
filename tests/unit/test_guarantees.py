"""The guarantees name the tests that show them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_a_guarantee_names_was_seen_to_fail() -> None:
    """A promise without the test that shows it is not one, nor is a test that can't fail."""
    named = NAMED.findall((ROOT / "docs/guarantees.md").read_text())
    assert len(named) > 70
    for path, name in named:
        tests = {each.name: each for each in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(each, DEFS)}
        assert name in tests, f"{path}::{name}"
        told = ast.get_docstring(tests[name]) or ""
        assert "\n\nSeen to fail when " in told, f"{path}::{name} does not say what was broken when it was seen to fail"


def test_every_row_of_promises_names_a_test() -> None:
    """No row of a table that promises something goes without one."""
    document = (ROOT / "docs/guarantees.md").read_text().split("## Durability")[0]
    rows = [line for line in document.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert rows and [row for row in rows if not NAMED.search(row)] == []
