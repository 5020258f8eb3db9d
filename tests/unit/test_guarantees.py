"""The guarantees name the tests that show them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_a_guarantee_names_exists() -> None:
    """A promise without the test that shows it is not one."""
    named = NAMED.findall((ROOT / "docs/guarantees.md").read_text())
    assert len(named) > 40
    for path, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_row_of_promises_names_a_test() -> None:
    """No row of a table that promises something goes without one."""
    document = (ROOT / "docs/guarantees.md").read_text().split("## Durability")[0]
    rows = [line for line in document.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert rows and [row for row in rows if not NAMED.search(row)] == []
