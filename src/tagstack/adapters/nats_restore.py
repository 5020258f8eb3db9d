"""Writes a log back, each message at the position it had: positions stand in events and in users' notes.

While it is written the log carries a mark, and no worker starts on it. Messages are published without
waiting, each on the condition that the log ends right before it, so only the last one of a chunk has
to be acknowledged: it can't be stored unless all before it are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from tagstack.adapters.nats_backup import LOG_ID
from tagstack.adapters.nats_streams import (
    EVENTS_STREAM,
    RESTORING,
    TAGS_STREAM,
    declarations,
    declare,
    jetstream,
)
from tagstack.application.records import Record
from tagstack.domain.errors import TagstackError, Unavailable

CHUNK_MESSAGES_MAX = 2_000  # the server holds 10,000 for one stream, and drops what is more
CHUNK_BYTES_MAX = 8 * 1024 * 1024
CHUNKS_IN_FLIGHT_MAX = 2
ACK_TIMEOUT_S = 30.0
WORKER_TIMEOUT_S = 1.0
FILLER = "tagstack.events._._.missing"  # stands for a position that the copied log had no message at, and is deleted

_STREAM_NOT_FOUND = 10059
_EXPECTED = "Nats-Expected-Last-Sequence"
_PROBE = "tagstack.queries.restore._"


class RestoreError(TagstackError):
    """The log can't be restored here; the message says what stands against it."""


class LogTarget:
    """The log that is being restored. `last` is the position it has reached."""

    def __init__(self, nc: Client, replicas: int = 1) -> None:
        self._nc = nc
        self._replicas = replicas
        self._inbox = nc.new_inbox()
        self._acks: asyncio.Queue[bytes] = asyncio.Queue()
        self._in_flight: list[int] = []  # the last position of each chunk that is not acknowledged
        self.last = 0

    async def start(self) -> LogTarget:
        """Look at what is there, and change nothing.

        Raises: RestoreError where a worker runs: it would write into the log between our messages.
        """
        await self._refuse_workers()
        info = await self._info()
        self.last = int(info["state"]["last_seq"]) if info else 0
        await self._nc.subscribe(self._inbox, cb=self._acked)
        return self

    async def begin(self, identity: str) -> None:
        """Create the log, or take the one that is there, and mark it as not whole."""
        if self.last == 0:  # an empty log is made anew, so that whatever is derived notices
            await jetstream(self._nc, f"STREAM.DELETE.{TAGS_STREAM}")
            await jetstream(self._nc, f"STREAM.DELETE.{EVENTS_STREAM}")
            made = declarations(self._replicas)[0] | {"deny_delete": False, "deny_purge": False}
            await self._change("CREATE", made, {RESTORING: identity, LOG_ID: identity})
        else:
            info = await self._info()
            assert info is not None, "a log that has a last position is there"
            await self._change("UPDATE", info["config"], {RESTORING: identity, LOG_ID: identity})
            last = await jetstream(self._nc, f"STREAM.MSG.GET.{EVENTS_STREAM}", {"seq": self.last})
            if last.get("message", {}).get("subject") == FILLER:
                await self._take_out(self.last)

    async def append(self, records: Sequence[Record]) -> None:
        """Store messages at their positions. At most two chunks are on their way when it returns.

        Raises: RestoreError, Unavailable.
        """
        for record in records:
            if record.position > self.last + 1:
                await self._leave_out(record.position)
            await self._publish(record.subject, record.body, record.own_headers, reply=record is records[-1])
        await self._settle(CHUNKS_IN_FLIGHT_MAX - 1)

    async def finish(self) -> None:
        """Wait for what is on its way, take the mark away, and declare every stream."""
        await self._settle(0)
        info = await self._info()
        if info is None or int(info["state"]["last_seq"]) != self.last:
            raise RestoreError(f"stream {EVENTS_STREAM} does not end at {self.last}: something else writes to it")
        config = info["config"]
        metadata = {name: value for name, value in config["metadata"].items() if name != RESTORING}
        await self._change("UPDATE", config | declarations(self._replicas)[0] | {"metadata": metadata}, {})
        await declare(self._nc, self._replicas)

    async def _refuse_workers(self) -> None:
        try:
            await self._nc.request(_PROBE, b"{}", timeout=WORKER_TIMEOUT_S)
        except NoRespondersError:
            return
        except NatsTimeout:
            pass  # something listens, and does not answer
        raise RestoreError("a command worker runs on this server: stop it, restore, and start it again")

    async def _info(self) -> dict[str, Any] | None:
        answer = await jetstream(self._nc, f"STREAM.INFO.{EVENTS_STREAM}")
        if "error" not in answer:
            return answer
        if answer["error"].get("err_code") == _STREAM_NOT_FOUND:
            return None
        raise Unavailable(f"stream {EVENTS_STREAM}: {answer['error']['description']}")

    async def _change(self, verb: str, config: dict[str, Any], metadata: dict[str, str]) -> None:
        wanted = config | {"metadata": config.get("metadata", {}) | metadata}
        answer = await jetstream(self._nc, f"STREAM.{verb}.{EVENTS_STREAM}", wanted)
        if "error" in answer:
            raise RestoreError(f"stream {EVENTS_STREAM} can't be made: {answer['error']['description']}")

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str], *, reply: bool) -> None:
        told = headers | {_EXPECTED: str(self.last)}
        try:
            await self._nc.publish(subject, body, reply=self._inbox if reply else "", headers=told)
        except NatsError as error:
            raise RestoreError(f"position {self.last + 1} can't be sent: {error or type(error).__name__}") from error
        self.last += 1
        if reply:
            self._in_flight.append(self.last)

    async def _settle(self, left: int) -> None:
        """Wait until at most `left` chunks are not acknowledged."""
        while len(self._in_flight) > left:
            try:
                async with asyncio.timeout(ACK_TIMEOUT_S):
                    ack = await self._acks.get()
            except TimeoutError:
                raise Unavailable(f"the server took no message within {ACK_TIMEOUT_S:.0f} s; run it again") from None
            expected = self._in_flight.pop(0)
            answer = json.loads(ack) if ack else {"error": {"description": "no stream takes the log's subjects"}}
            if "error" in answer or answer["seq"] != expected:
                raise await self._refusal(answer)

    async def _refusal(self, answer: dict[str, Any]) -> RestoreError:
        """Return what the server has against the first message that it did not take."""
        info = await self._info()
        last = int(info["state"]["last_seq"]) if info else 0
        told = answer.get("error", {}).get("description", f"it was stored at {answer.get('seq')}")
        return RestoreError(
            f"the server did not take position {last + 1} ({told}): either something else writes to the log, or "
            "the server's log says more; run it again to continue"
        )

    async def _leave_out(self, position: int) -> None:
        """Let the log have no message at the positions before `position`, as the copied one had none."""
        while self.last + 1 < position:
            await self._publish(FILLER, b"", {}, reply=True)
            await self._settle(0)
            await self._take_out(self.last)

    async def _take_out(self, position: int) -> None:
        body = {"seq": position, "no_erase": True}
        answer = await jetstream(self._nc, f"STREAM.MSG.DELETE.{EVENTS_STREAM}", body)
        if "error" in answer:
            told = answer["error"]["description"]
            raise RestoreError(f"the copied log has no position {position}, and it can't be left out: {told}")

    async def _acked(self, msg: Msg) -> None:
        self._acks.put_nowait(msg.data)


def chunk_is_full(records: Sequence[Record], size: int) -> bool:
    """Return whether records of `size` bytes together are enough to be sent."""
    return len(records) >= CHUNK_MESSAGES_MAX or size >= CHUNK_BYTES_MAX


class Restored(msgspec.Struct, frozen=True):
    """What a restore did: where the log ends now, and where it ended before."""

    position: int
    found: int
