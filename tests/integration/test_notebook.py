"""The notebook in docs/ runs as it is shipped, on the sample that is shipped with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "history.py"
PLOTS = {"actors", "churn", "lead-time", "rollbacks", "timeline"}


def test_the_notebook_draws_its_plots(tmp_path: Path) -> None:
    """Run as a script, every cell works, and each of the five plots has data in it."""
    environment = os.environ | {"TAGSTACK_PLOTS": str(tmp_path)}
    environment.pop("TAGSTACK_EXPORT", None)
    done = subprocess.run([sys.executable, str(NOTEBOOK)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    drawn = {path.stem: json.loads(path.read_bytes()) for path in tmp_path.glob("*.json")}
    assert drawn.keys() == PLOTS
    for name, plot in drawn.items():
        values = [*plot.get("datasets", {}).values(), plot.get("data", {}).get("values")]
        assert any(values), f"{name} is empty"
        assert plot["title"], name
