"""One running `tagstack up` for all tests from outside; each uses image streams of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.outside import Outside
from tests.e2e.service import Up, running


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running service."""
    with running(tmp_path_factory.mktemp("outside")) as service:
        yield service


@pytest.fixture(scope="package")
def outside(up: Up) -> Iterator[Outside]:
    """A stranger's connection to it."""
    stranger = Outside(up)
    yield stranger
    stranger.close()
