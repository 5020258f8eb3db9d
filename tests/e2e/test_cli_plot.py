"""`tagstack history --plot`, over a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.cli_service import Push, Result, digest, namespace, push, service, tagstack
from tests.e2e.service import running

__all__ = ["namespace", "push", "service", "tagstack"]  # fixtures

Cli = Callable[..., Result]
SAMPLES = Path(__file__).parent.parent / "samples"
PNG = b"\x89PNG\r\n\x1a\n"


def test_a_tag_is_drawn_without_the_right_to_ask_sql(push: Push, tagstack: Cli, tmp_path: Path) -> None:
    """Where nobody answers SQL, the picture of a tag has its history and the hold of now."""
    push("app:latest", digest("a"))
    push("app:latest", digest("b"))
    tagstack("rollback", "app:latest", "--reason", "it crashes")
    file = tmp_path / "app.svg"
    assert tagstack("history", "app:latest", "--plot", str(file)) == Result(0, f"{file}\n", "")
    text = "".join(ElementTree.parse(file).getroot().itertext())
    assert digest("a") in text and "rollback by alice: it crashes" in text and "held by alice: it crashes" in text


def test_an_image_stream_is_drawn_as_a_png_with_its_holds(tmp_path: Path) -> None:
    """The whole service draws every tag of an image stream; the ending of the file says how."""
    with running(tmp_path / "home") as up:
        assert up.run("apply", "-f", str(SAMPLES / "imagestreammapping-ruby.yaml")).returncode == 0
        assert up.run("hold", "test/origin-ruby-sample:latest", "--reason", "freeze").returncode == 0
        for ending in ("png", "svg"):
            done = up.run("history", "test/origin-ruby-sample", "--plot", str(tmp_path / f"ruby.{ending}"))
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "ruby.png").read_bytes().startswith(PNG)
    assert ": freeze" in (tmp_path / "ruby.svg").read_text()


@pytest.mark.parametrize("file", ["picture.gif", "picture", "no/such/folder/picture.svg"])
def test_a_file_that_cannot_be_drawn_is_refused(tagstack: Cli, file: str) -> None:
    """Another ending, or a folder that is not there, is a fault of the command line, told before anything is asked."""
    done = tagstack("history", "app:latest", "--plot", file)
    assert done.code == 2 and "--plot" in done.err


def test_a_tag_that_never_was_leaves_no_file(tagstack: Cli, tmp_path: Path) -> None:
    """What is not found is told as without a picture."""
    file = tmp_path / "none.svg"
    assert tagstack("history", "app:none", "--plot", str(file)).code == 1
    assert not file.exists()
