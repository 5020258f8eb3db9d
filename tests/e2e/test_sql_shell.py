"""The interactive SQL shell, typed into as a person does: a terminal of its own, one line after the other."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from select import select

import pytest

from tests.e2e.service import Up, running

WAIT_S = 30.0
PROMPT = "tagstack> "


class Typist:
    """A person at `tagstack sql`."""

    def __init__(self, up: Up) -> None:
        self._terminal, theirs = pty.openpty()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TAGSTACK_")}
        environment |= {"TAGSTACK_HOME": str(up.home), "XDG_STATE_HOME": str(up.home / "state")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tagstack", "sql"],
            env=environment | {"TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "120", "LINES": "50"},
            **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
            start_new_session=True,
        )
        os.close(theirs)
        self._read = ""

    def answer(self, line: str = "") -> str:
        """Type a line, and return what is printed until the shell asks for the next one."""
        if line:
            os.write(self._terminal, line.encode() + b"\r")
        deadline = time.monotonic() + WAIT_S
        while PROMPT not in (shown := self._shown(line)):
            if not select([self._terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"no prompt after {line!r}: {self._read}")
            self._read += os.read(self._terminal, 65_536).decode(errors="replace")
        self._read = ""
        return shown.rpartition(PROMPT)[0]

    def leave(self) -> None:
        """End the shell, whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def _shown(self, line: str) -> str:
        """Return what came after the line's own echo, without what steers the terminal."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._read).replace("\r\n", "\n").replace("\r", "\n")
        return text.partition(line)[2] if line else text


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A service without any event; nothing here writes."""
    with running(tmp_path_factory.mktemp("home")) as service:
        yield service


@pytest.fixture
def typist(up: Up) -> Iterator[Typist]:
    """A person who sees the first prompt."""
    person = Typist(up)
    try:
        person.answer()
        yield person
    finally:
        person.leave()


def test_what_has_columns_or_parameters_is_shown_and_what_is_unknown_is_told(typist: Typist) -> None:
    """`.schema` shows relations and macros under any case, and says so when there is none of that name."""
    assert "held_since" in typist.answer(".schema Current_Tags")
    assert "ref_" in typist.answer(".schema tag_stack")
    assert "error: there is no relation nope; `.tables` lists them" in typist.answer(".schema nope")


def test_a_plan_keeps_its_lines(typist: Typist) -> None:
    """EXPLAIN draws boxes: they are printed as they are, not in a cell of a table."""
    drawn = typist.answer("EXPLAIN SELECT count(*) FROM events;")
    assert any(line.startswith("╭─ Seq Scan") for line in drawn.splitlines())
    assert "explain_value" not in drawn


def test_a_mode_that_is_no_text_says_what_it_needs(typist: Typist) -> None:
    """Parquet in a terminal is refused with the command that writes it to a file; the session goes on."""
    assert "-o parquet 'QUERY' > rows.parquet" in typist.answer(".mode parquet")
    assert "1 row" in typist.answer("SELECT 1;")


def test_checks_that_pass_are_told(up: Up) -> None:
    """`status --check` says that the checks passed, not merely nothing."""
    assert "the checks of every read model pass" in up.run("status", "--check").stdout
    assert "checks" not in up.run("status").stdout
