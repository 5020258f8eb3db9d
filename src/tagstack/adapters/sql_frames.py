"""What a worker and a process that runs its statements say to each other: frames over one socket.

A frame is its length in four bytes, then a struct as MessagePack. The worker sends `Ask`; the process
answers with `Chunk`s and one of `Done`, `Behind`, `Failed`. `Ready` is the first word of a new process.
"""

from __future__ import annotations

import struct

import msgspec

FRAME_BYTES_MAX = 64 * 1024 * 1024  # over it the peer is no peer of ours
PREFIX = struct.Struct(">I")


class RunnerOptions(msgspec.Struct, frozen=True):
    """What a process is told when it starts. `descriptor` is its socket, `worker` the process it belongs to."""

    snapshot: str
    memory_mb: int
    rows_max: int
    descriptor: int = 0
    worker: int = 0


class Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The root of everything that is sent."""


class Ready(Frame, frozen=True, tag=True, array_like=True):
    """The process takes statements."""


class Ask(Frame, frozen=True, tag=True, array_like=True):
    """Run the statement in this JSON body; no chunk may be larger than the bound."""

    body: bytes
    chunk_bytes_max: int


class Chunk(Frame, frozen=True, tag=True, array_like=True):
    """A part of the answer; `position` is that of the snapshot."""

    body: bytes
    position: int


class Done(Frame, frozen=True, tag=True, array_like=True):
    """Every row was sent."""

    rows: int
    position: int


class Behind(Frame, frozen=True, tag=True, array_like=True):
    """The snapshot does not reach the position that was asked for; nothing ran."""

    position: int


class Failed(Frame, frozen=True, tag=True, array_like=True):
    """The statement ended with an error, and with `last` the process too; `reason` is a Status'."""

    reason: str
    message: str
    last: bool = False


AnyFrame = Ready | Ask | Chunk | Done | Behind | Failed

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)


def pack(frame: Frame) -> bytes:
    """Return a frame as it is sent."""
    body = _encode(frame)
    return PREFIX.pack(len(body)) + body


def length(prefix: bytes) -> int:
    """Return how many bytes follow a prefix."""
    size: int = PREFIX.unpack(prefix)[0]
    assert size <= FRAME_BYTES_MAX, f"a frame of {size} bytes"
    return size


def unpack(body: bytes) -> AnyFrame:
    """Return the frame in a body."""
    return _decoder.decode(body)
