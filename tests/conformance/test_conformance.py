"""OpenShift's own cases hold, apart from the deviations that are declared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import deviations
from tests.conformance.compare import differences
from tests.conformance.runner import DEVIATES, FAILED, SKIPPED, load_cases, report, run, run_case

CASES = Path(__file__).with_name("cases") / "openshift.json"


def test_every_case_that_runs_passes_or_deviates_as_declared() -> None:
    """No case fails, and few enough are skipped that the run means something."""
    results = run(load_cases(CASES))
    failed = [result for result in results if result.outcome == FAILED]
    assert not failed, report(failed)
    assert sum(result.outcome == SKIPPED for result in results) < len(results) / 5


def test_every_declared_deviation_names_a_function_and_its_reasons() -> None:
    """A deviation without a way to recognise it, or without a reason, is no declaration."""
    for deviation in deviations.declared():
        assert callable(getattr(deviations, deviation.expects)), deviation.rule
        assert deviation.why and deviation.instead and deviation.areas


def test_a_deviation_passes_only_with_the_answer_it_declares() -> None:
    """A declared quirk is no licence: another answer than the declared one fails."""
    case = next(case for case in load_cases(CASES) if case["id"] == "tag-push-004")
    assert run_case(case, deviations.declared()).outcome == DEVIATES
    assert run_case(case | {"then": {"changed": False}}, deviations.declared()).outcome == FAILED


def test_an_unknown_op_fails() -> None:
    """A case that nothing here can run is a failure, not a silence."""
    case = {"id": "x", "area": "istag", "given": {}, "when": {"op": "unheard_of"}, "then": {}}
    assert run_case(case, []).outcome == FAILED


@pytest.mark.parametrize(
    ("then", "got"),
    [
        ({"status": "OK"}, {"status": "NotFound"}),
        ({"errors": []}, {"errors": [{"field": "a", "type": "Required", "detail": ""}]}),
        ({"status_tags": {}}, {"status_tags": {"a": {}}}),
        ({"all_errors_are": {"field": "a", "type": "Required"}}, {"errors": []}),
        ({"order": ["a", "b"]}, {"order": ["b", "a"]}),
        ({"error_contains": "x"}, {"error": "y"}),
    ],
)
def test_the_comparison_sees_a_difference(then: dict, got: dict) -> None:
    """What differs is told."""
    assert differences(then, got)
