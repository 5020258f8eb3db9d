"""Command line of the conformance runner; exit 1 where a case fails, 2 where the file can't be read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.conformance.runner import FAILED, load_cases, report, run


def main() -> int:
    """Run a file of cases and print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run OpenShift's cases.")
    parser.add_argument("file", type=Path, help="a JSON file of cases")
    parser.add_argument("--area", default="", help="run the cases of this area only")
    asked = parser.parse_args()
    try:
        cases = load_cases(asked.file, asked.area)
    except (OSError, ValueError) as error:
        print(f"{asked.file} can't be read: {error}", file=sys.stderr)
        return 2
    results = run(cases)
    print(report(results))
    return 1 if any(result.outcome == FAILED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
