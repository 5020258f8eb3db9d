"""The log is read one batch ahead of the fold, and only while it has more than a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from tagstack.application import lookahead
from tagstack.application.lookahead import BatchBounds, Lookahead
from tagstack.application.read_models import Decoded, LogMessage, ReaderLost, ReadModels

LIVE = BatchBounds(events=4, bytes=1_000, behind=3)


class PiecesOfLog:
    """A reader that hands out messages two at a time, and is lost after some of those that the log has."""

    def __init__(self, length: int, readable: int) -> None:
        self.log_position, self.read, self.stopped = length, 0, False
        self._readable = readable

    async def take(self, wait_s: float) -> list[LogMessage]:
        """Return the next two messages."""
        if self.read == self._readable:
            raise ReaderLost("the end")
        first, self.read = self.read + 1, min(self.read + 2, self._readable)
        return [LogMessage(position, "subject", b"{}") for position in range(first, self.read + 1)]

    async def stop(self) -> None:
        """Be stopped."""
        self.stopped = True


class Undecoded:
    """Read models that leave messages as they are, and know how many came at once."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    def decode(self, messages: Sequence[LogMessage]) -> Decoded:
        """Return them."""
        self.parts.append(len(messages))
        return Decoded(messages, sum(len(message.body) for message in messages))

    def join(self, first: Decoded, second: Decoded) -> Decoded:
        """Return both."""
        return Decoded([*first.messages, *second.messages], first.size + second.size)


async def taken(ahead: Lookahead) -> list[int]:
    """Return the positions of the next batch."""
    decoded = await ahead.take(1.0)
    return [message.position for message in decoded.messages] if decoded else []


async def has_read(reader: PiecesOfLog, messages: int) -> None:
    """Wait until so many messages have been read."""
    async with asyncio.timeout(5):
        while reader.read < messages:  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0)


def test_far_behind_the_next_batch_is_read_before_it_is_asked_for() -> None:
    """And it is a whole batch, in whatever pieces messages come; near the end it is what is there.

    The first batch comes in two pieces, a quarter before the rest. Seen to fail when `Lookahead.take` begins no
    reading, when `_read` takes one part only, and when `_part` forgets what a batch had no room for.
    """

    async def scenario() -> None:
        reader = PiecesOfLog(13, 13)
        ahead = Lookahead(reader, cast(ReadModels, Undecoded()), LIVE)
        assert await taken(ahead) == [1]
        await has_read(reader, 4)
        assert await taken(ahead) == [2, 3, 4]
        await has_read(reader, 8)
        assert await taken(ahead) == [5, 6, 7, 8]
        assert await taken(ahead) == [9, 10]
        assert await taken(ahead) == [11, 12]
        assert reader.read == 12
        await ahead.stop()
        assert reader.stopped

    asyncio.run(scenario())


def test_a_file_that_is_built_reads_on_to_the_end() -> None:
    """A batch is filled up as long as the log has one more event.

    Seen to fail when `_behind` leaves out the bound.
    """

    async def scenario() -> None:
        ahead = Lookahead(PiecesOfLog(13, 13), cast(ReadModels, Undecoded()), BatchBounds(8, 1_000, 0))
        assert [await taken(ahead) for _ in range(3)] == [[1, 2], [3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13]]
        await ahead.stop()

    asyncio.run(scenario())


def test_a_batch_is_decoded_in_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small rest would not be worth decoding beforehand, and then nothing of its batch was.

    Seen to fail when `_part` takes whole parts first.
    """
    monkeypatch.setattr(lookahead, "PART", 10)
    models = Undecoded()

    async def scenario() -> None:
        ahead = Lookahead(PiecesOfLog(60, 60), cast(ReadModels, models), BatchBounds(16, 1_000, 16))
        assert [len(await taken(ahead)) for _ in range(3)] == [4, 12, 16]
        await ahead.stop()

    asyncio.run(scenario())
    assert models.parts[:5] == [4, 6, 6, 8, 8]


def test_large_messages_make_smaller_batches() -> None:
    """A batch has no more parts once its messages have as many bytes as it may.

    Seen to fail when `_read` looks at their number only.
    """

    async def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookahead, "PART", 2)
        ahead = Lookahead(PiecesOfLog(40, 40), cast(ReadModels, Undecoded()), BatchBounds(16, 8, 0))
        assert [await taken(ahead) for _ in range(2)] == [[1, 2, 3, 4], [5, 6, 7, 8]]
        await ahead.stop()

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(scenario(monkeypatch))


def test_what_ends_reading_ahead_is_told_after_the_batch_before() -> None:
    """The batch that was read is handed out to be folded; whoever asks for the next hears why there is none.

    Seen to fail when `Lookahead.take` awaits the reading that it begins.
    """

    async def scenario() -> None:
        ahead = Lookahead(PiecesOfLog(20, 2), cast(ReadModels, Undecoded()), LIVE)
        assert await taken(ahead) == [1]
        with pytest.raises(ReaderLost):
            await taken(ahead)
        await ahead.stop()

    asyncio.run(scenario())
