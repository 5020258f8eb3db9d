"""Runs cases through the adapters and tells what passed, deviates as declared, failed, or was skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tests.conformance.adapters import load_all
from tests.conformance.compare import differences
from tests.conformance.deviations import Deviation, declared

Case = dict[str, Any]

PASSED, DEVIATES, FAILED, SKIPPED = "passed", "deviates", "failed", "skipped"

# areas, and single ops of others, that need parts of the system which do not exist yet
SKIPPED_AREAS = {
    "import": "the importer",
    "import-plan": "the importer",
    "schedule": "the importer's schedule",
    "limits": "limits per namespace",
    "prune": "pruning",
}
SKIPPED_OPS = {"get_stream_secrets": "Kubernetes secrets"}


class Result(msgspec.Struct):
    """What became of one case; `why` is a line per difference, a deviation's rule, or what is missing."""

    case: Case
    outcome: str
    why: list[str]

    @property
    def area(self) -> str:
        """Return the case's area."""
        return str(self.case["area"])


def load_cases(path: Path, area: str = "") -> list[Case]:
    """Return the cases of a file, or of one of its areas."""
    cases = json.loads(path.read_text())
    return [case for case in cases if area in ("", case["area"])]


def run(cases: Iterable[Case]) -> list[Result]:
    """Run cases in order."""
    deviations = declared()
    return [run_case(case, deviations) for case in cases]


def run_case(case: Case, deviations: list[Deviation]) -> Result:
    """Run one case; a deviation passes only with the answer it declares."""
    op = case["when"]["op"]
    if missing := SKIPPED_AREAS.get(case["area"]) or SKIPPED_OPS.get(op):
        return Result(case, SKIPPED, [f"needs {missing}"])
    adapter = load_all().get(op)
    if adapter is None:
        return Result(case, FAILED, [f"no adapter for op {op}"])
    try:
        got = adapter(case["given"], case["when"])
    except Exception as error:
        return Result(case, FAILED, [f"{type(error).__name__}: {error}"])
    if not (why := differences(case["then"], got)):
        return Result(case, PASSED, [])
    for deviation in deviations:
        answer = deviation.answer(case)
        if answer is not None and not differences(answer, got):
            return Result(case, DEVIATES, [deviation.rule])
    return Result(case, FAILED, why)


def report(results: list[Result]) -> str:
    """Return the table per area, the declared deviations, every failure, and the closing line."""
    lines = [f"{'area':20} {'passed':>7} {'deviates':>9} {'failed':>7} {'skipped':>8}"]
    for area in sorted({result.area for result in results}):
        counted = Counter(result.outcome for result in results if result.area == area)
        row = [counted[outcome] for outcome in (PASSED, DEVIATES, FAILED, SKIPPED)]
        lines.append(f"{area:20} {row[0]:7} {row[1]:9} {row[2]:7} {row[3]:8}")
    lines += _listed(results, DEVIATES, "\ndeclared deviations (tests/conformance/deviations.toml):")
    lines += _skipped(results)
    lines += _listed(results, FAILED, "\nfailures:")
    counted = Counter(result.outcome for result in results)
    passed = counted[PASSED] + counted[DEVIATES]
    lines.append(f"\n{passed} passed, {counted[FAILED]} failed, {counted[SKIPPED]} skipped")
    return "\n".join(lines)


def _listed(results: list[Result], outcome: str, title: str) -> list[str]:
    found = [result for result in results if result.outcome == outcome]
    lines = [title] if found else []
    for result in found:
        lines.append(f"  {result.case['id']} ({result.case['when']['op']})")
        lines += [f"      {line}" for line in result.why]
    return lines


def _skipped(results: list[Result]) -> list[str]:
    found = Counter((result.area, result.why[0]) for result in results if result.outcome == SKIPPED)
    lines = ["\nskipped:"] if found else []
    return lines + [f"  {area}: {count} cases, {why}" for (area, why), count in sorted(found.items())]
