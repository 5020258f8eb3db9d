"""What the command worker counts, as it is told to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tagstack.apps.commands import Answered


def test_commands_are_counted_by_what_became_of_them_and_how_long_they_took() -> None:
    """A bucket holds everything up to its bound, the bound itself included, as those of a Histogram do.

    Seen to fail when `Answered.collect` does not add up the buckets, and with `bisect_right`.
    """
    registry, answered = CollectorRegistry(), Answered()
    registry.register(answered)
    for result, seconds in (("changed", 0.004), ("changed", 0.005), ("Conflict", 0.3), ("changed", 11.0)):
        answered.count(result)
        answered.observe(seconds)
    assert registry.get_sample_value("tagstack_commands_total", {"result": "changed"}) == 3
    assert registry.get_sample_value("tagstack_commands_total", {"result": "Conflict"}) == 1
    within = [
        registry.get_sample_value("tagstack_command_seconds_bucket", {"le": bound})
        for bound in ("0.005", "0.25", "0.5", "10.0", "+Inf")
    ]
    assert within == [2, 2, 3, 3, 4]
    assert registry.get_sample_value("tagstack_command_seconds_count") == 4
    assert registry.get_sample_value("tagstack_command_seconds_sum") == 11.309
