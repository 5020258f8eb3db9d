"""A log that any version wrote means today what it meant then, to the read models and to the decider."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagstack.domain.events import EVENT_VERSION
from tests import golden_log
from tests.integration.reading import in_a_loop


@pytest.mark.parametrize("version", golden_log.versions())
@in_a_loop
async def test_the_log_of_every_version_means_what_it_meant(nats_url: str, tmp_path: Path, version: int) -> None:
    """Stored again on a real server, it makes the relations and the states that are kept beside it.

    Seen to fail when `Hold` reads its `withheldCount` under another name.
    """
    log = golden_log.log_of(version)
    types = {record.headers["ce-type"].removeprefix("dev.tagstack.") for record in log}
    assert types == set(golden_log.kept(version, "schemas"))
    assert await golden_log.replay(nats_url, tmp_path, log) == golden_log.kept(version, "expected")


def test_an_event_of_another_form_is_of_another_version() -> None:
    """Who changes an event raises EVENT_VERSION and keeps a log of it: `python -m tests.golden_log` writes that.

    Seen to fail when `TagEvent` gets a field more, and EVENT_VERSION stays.
    """
    assert golden_log.versions() == list(range(1, EVENT_VERSION + 1))
    assert golden_log.fingerprints() == golden_log.kept(EVENT_VERSION, "schemas")
