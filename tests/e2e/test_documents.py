"""The examples of the documents, run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.readme import ROOT, normalised, run
from tests.e2e.service import running

DOCUMENTS = ["README.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_examples_print_what_the_document_says(name: str, tmp_path: Path) -> None:
    """Who changes what a verb prints renews the document: `python -m tests.e2e.readme --update NAME`."""
    written = (ROOT / name).read_text()
    with running(tmp_path / "home") as up:
        printed = run(written, up, tmp_path)
    assert normalised(printed) == normalised(written)
