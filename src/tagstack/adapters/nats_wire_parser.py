"""Reads the NATS client protocol from a TCP connection and tells its owner what came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Protocol, cast

import msgspec

LINE_BYTES_MAX = 1024 * 1024  # of what the server says besides messages
MESSAGE_BYTES_MAX = 65 * 1024 * 1024  # above the most that any server can be told to take

_M, _H, _I, _MINUS = b"MHI-"  # the first byte tells MSG, HMSG, INFO, -ERR from PING, PONG, +OK


class Garbled(Exception):
    """What comes is not the NATS protocol."""


class Delivered(msgspec.Struct, gc=False):
    """A message from the server."""

    subject: str
    reply: str
    head: bytes
    data: bytes

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Return the headers; the status of one without a body stands under `Status`."""
        return read_headers(self.head) if self.head else None


class Owner(Protocol):
    """Who is told what came."""

    def delivered(self, number: bytes, message: Delivered) -> None: ...
    def pinged(self) -> None: ...
    def ponged(self) -> None: ...
    def told(self, info: bytes) -> None: ...
    def complained(self, text: str) -> None: ...
    def writable(self, yes: bool) -> None: ...
    def lost(self) -> None: ...


class Parser(asyncio.Protocol):
    """One connection's reading side."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._rest = b""
        self._needed = 0  # bytes that `_rest` and what follows must have to go on
        self._chunks: list[bytes] = []
        self._tcp: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection, to be able to end it."""
        self._tcp = cast(asyncio.Transport, transport)  # uvloop's says so to nobody

    def data_received(self, data: bytes) -> None:
        """Take what came; a message that is not whole waits for the rest of it. What is garbled ends the connection."""
        try:
            self._take(data)
        except (Garbled, msgspec.DecodeError) as error:
            self._rest, self._chunks = b"", []
            self._owner.complained(f"what is not NATS: {error}")
            if self._tcp is not None:
                self._tcp.abort()

    def _take(self, data: bytes) -> None:
        if self._rest or self._chunks:
            self._chunks.append(data)
            self._needed -= len(data)
            if self._needed > 0:
                return  # joining the pieces of a large message each time would cost their square
            data = b"".join([self._rest, *self._chunks])
            self._chunks.clear()
        position = self._read(data)
        self._rest = data[position:]
        if not self._needed and len(self._rest) > LINE_BYTES_MAX:
            raise Garbled(f"a line of more than {LINE_BYTES_MAX} bytes")

    def _read(self, data: bytes) -> int:
        """Read whole commands; return where the first one that is not whole begins."""
        position, size, find, delivered = 0, len(data), data.find, self._owner.delivered
        self._needed = 0
        while (end := find(b"\r\n", position)) >= 0:
            kind = data[position]
            if kind in (_M, _H):
                try:
                    words = data[position:end].split(b" ")
                    start = end + 2
                    stop = start + int(words[-1])
                    head = start + int(words[-2]) if kind == _H else start
                    if not start <= head <= stop <= start + MESSAGE_BYTES_MAX:
                        raise Garbled(f"a message of {stop - start} bytes")
                    if stop + 2 > size:
                        self._needed = stop + 2 - size
                        return position
                    reply = words[3].decode() if len(words) == (6 if kind == _H else 5) else ""
                    message = Delivered(words[1].decode(), reply, data[start:head], data[head:stop])
                except (ValueError, IndexError) as error:
                    raise Garbled(repr(data[position : min(end, position + 80)])) from error
                delivered(words[2], message)
                position = stop + 2
                continue
            self._control(kind, data[position:end])
            position = end + 2
        return position

    def _control(self, kind: int, line: bytes) -> None:
        if kind == _MINUS:
            self._owner.complained(line[5:].decode(errors="replace"))
        elif kind == _I:
            self._owner.told(line[5:])
        elif line == b"PING":
            self._owner.pinged()
        elif line == b"PONG":
            self._owner.ponged()

    def pause_writing(self) -> None:
        """The connection takes no more for now."""
        self._owner.writable(False)

    def resume_writing(self) -> None:
        """The connection takes more again."""
        self._owner.writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._owner.lost()


def find_header(block: bytes, name: str) -> str:
    """Return one header of a block as `read_headers` would, "" where there is none."""
    mark = _mark(name)
    at = block.rfind(mark)
    if at < 0:
        return ""
    value, _, _ = block[at + len(mark) :].partition(b"\r\n")
    return value.decode(errors="replace").strip()


@cache
def _mark(name: str) -> bytes:
    return b"\r\n%b:" % name.encode()


def read_headers(block: bytes) -> dict[str, str]:
    """Return the headers in a block; the last of several under one name counts."""
    first, _, rest = block.decode(errors="replace").partition("\r\n")
    headers: dict[str, str] = {}
    for line in rest.split("\r\n"):
        name, mark, value = line.partition(":")
        if mark:
            headers[name.strip()] = value.strip()
    status, _, description = first[len("NATS/1.0") :].strip().partition(" ")
    if status:
        headers["Status"] = status
        if description:
            headers["Description"] = description
    return headers
