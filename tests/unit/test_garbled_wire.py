"""What if the server, or whatever answers in its place, says something that is not the NATS protocol?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tagstack.adapters.nats_wire_parser import LINE_BYTES_MAX, Parser

GARBAGE = {
    "a length that is no number": b"MSG a 1 x\r\n",
    "a length below zero": b"MSG a 1 -14\r\n",
    "no length": b"MSG\r\n",
    "longer headers than message": b"HMSG a 1 9 4\r\nabcdefghi\r\n",
    "headers of a length below zero": b"HMSG a 1 -1 4\r\nabcd\r\n",
    "a subject that is no text": b"MSG \xff 1 0\r\n\r\n",
    "a length beyond every server's": b"MSG a 1 99999999999\r\n",
    "a line without end": b"x" * (LINE_BYTES_MAX + 1),
}


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.calls.append((name, *args))


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_not_nats_ends_the_connection(garbage: str) -> None:
    """Said in words; what came before it is heard.

    Seen to fail when the parser takes a length below zero: it was read again for ever.
    """
    owner, connection = Heard(), Heard()
    parser = Parser(owner)  # type: ignore[arg-type]
    parser.connection_made(connection)  # type: ignore[arg-type]
    parser.data_received(b"PING\r\n" + GARBAGE[garbage])
    assert [name for name, *_ in owner.calls] == ["pinged", "complained"]
    assert "what is not NATS" in owner.calls[1][1]
    assert connection.calls == [("abort",)]
