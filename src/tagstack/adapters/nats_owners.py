"""Which command worker owns which image stream: the one that carries out its commands, with its state in memory.

Workers tell each other that they are there. Each of them finds the same owner among those by rendezvous
hashing, and hands on what another one owns. This is for speed alone: any worker may carry out any command, since
the log's guard is the fence, so nothing depends on their agreement.

What if an owner dies here? The server says at once that nobody took what was handed to it, and it is carried out by
whoever handed it on. One that hangs is believed until it has been silent for a while.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from tagstack.adapters.cancelling import cancelled
from tagstack.adapters.nats_subjects import COMMANDS, HANDED, WORKERS
from tagstack.adapters.nats_transport import Arrived, Receive, Transport, Unsubscribe
from tagstack.domain.errors import TooLarge, Unavailable

BEAT_S = 0.2
SILENT_S = 1.0  # after which a worker is no longer believed to be there
KEPT_S = 0.5  # what was handed on is kept for so long, to be taken back; the server says so within moments
KEPT_MAX = 8_192
HANDED_BYTES_MAX = 8_192  # what is larger is not worth the way
REPLY_LENGTH_MAX = 512  # the server cuts the connection over 4,096 bytes of subject and reply
OWNERS_MAX = 65_536
NOBODYS = "_._"  # images on their own, of which no worker remembers anything
STOP_TIMEOUT_S = 1.0
_HERE, _GONE = b"here", b"gone"


class Command(msgspec.Struct, frozen=True):
    """A command that was handed on, as it first arrived."""

    subject: str
    reply: str
    headers: Mapping[str, str] | None
    data: bytes


class _Kept(msgspec.Struct, frozen=True):
    until: float
    owner: str
    command: Arrived


class Owners:
    """Sorts commands: those of image streams that this worker owns, and all that can't be handed on, are taken.

    `handed_on` counts those that another one got.
    """

    def __init__(self, transport: Transport, take: Receive) -> None:
        self._transport = transport
        self._take = take
        self._id = uuid.uuid4().hex
        self._own = f"{HANDED}.{self._id}"
        self._inbox = transport.new_inbox()
        self.handed_on = 0
        self._heard: dict[str, float] = {}  # the other workers, and when they last told that they are there
        self._owner: dict[str, str] = {}  # by the image stream's part of the subject
        self._kept: dict[str, _Kept] = {}  # in the order of their times
        self._handing: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._unsubscribe: list[Unsubscribe] = []

    async def start(self) -> None:
        """Take what is handed on, and tell the others that this worker is there."""
        await self._transport.subscribe(f"{self._inbox}.>", self._returned)
        self._unsubscribe = [
            await self._transport.subscribe(f"{WORKERS}.*", self._told),
            await self._transport.subscribe(f"{self._own}.*.*.*", self._handed),
        ]
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Say good-bye; what has been handed to this worker by then is taken."""
        if self._beating is None:
            return
        await cancelled([self._beating], STOP_TIMEOUT_S)
        await self._tell(_GONE)
        for unsubscribe in self._unsubscribe:
            await unsubscribe()
        self._forget(*self._heard)

    def sort(self, command: Arrived) -> None:
        """Take a command, or hand it on to the worker that owns its image stream."""
        owner = self._owner_of(command.subject.split(".", 3)[3]) if self._heard else self._id
        if owner == self._id or not self._may_go(command):
            self._take(command)
            return
        self.handed_on += 1
        token = str(self.handed_on)
        self._kept[token] = _Kept(time.monotonic() + KEPT_S, owner, command)
        task = asyncio.create_task(self._hand_on(command, owner, token))
        self._handing.add(task)
        task.add_done_callback(self._handing.discard)

    def _may_go(self, command: Arrived) -> bool:
        small = len(command.data) <= HANDED_BYTES_MAX and 0 < len(command.reply) <= REPLY_LENGTH_MAX
        return small and len(self._kept) < KEPT_MAX

    def _owner_of(self, image_stream: str) -> str:
        if image_stream == NOBODYS:
            return self._id
        owner = self._owner.get(image_stream)
        if owner is None:
            if len(self._owner) == OWNERS_MAX:
                self._owner.clear()
            chosen = max((self._id, *self._heard), key=lambda worker: _weight(worker, image_stream))
            owner = self._owner[image_stream] = chosen
        return owner

    async def _hand_on(self, command: Arrived, owner: str, token: str) -> None:
        # the sender's reply subject goes behind ours, where the server tells that nobody took it
        reply = f"{self._inbox}.{token}.{command.reply}"
        subject = f"{HANDED}.{owner}{command.subject[len(COMMANDS) :]}"
        try:
            await self._transport.publish(subject, command.data, reply, command.headers)
        except (TooLarge, Unavailable):  # nats-py refuses some names of headers as well
            self._take_back(token)

    def _handed(self, msg: Arrived) -> None:
        """Take what another worker handed on; it is never handed on again."""
        reply = "".join(msg.reply.split(".", 3)[3:])
        self._take(Command(COMMANDS + msg.subject[len(self._own) :], reply, msg.headers, msg.data))

    def _returned(self, msg: Arrived) -> None:
        if msg.headers and msg.headers.get("Status") == "503":
            kept = self._take_back(msg.subject[len(self._inbox) + 1 :].partition(".")[0])
            if kept is not None:
                self._forget(kept.owner)

    def _take_back(self, token: str) -> _Kept | None:
        kept = self._kept.pop(token, None)
        if kept is not None:
            self._take(kept.command)
        return kept

    def _told(self, msg: Arrived) -> None:
        worker = msg.subject.rpartition(".")[2]
        if msg.data == _GONE:
            self._forget(worker)
        elif worker != self._id:
            if worker not in self._heard:
                self._owner.clear()
            self._heard[worker] = time.monotonic()

    def _forget(self, *workers: str) -> None:
        for worker in workers:
            if self._heard.pop(worker, None) is not None:
                self._owner.clear()

    async def _beat(self) -> None:
        while True:
            await self._tell(_HERE)
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            self._forget(*[worker for worker, heard in self._heard.items() if heard < now - SILENT_S])
            while self._kept and (oldest := next(iter(self._kept.items())))[1].until < now:
                del self._kept[oldest[0]]

    async def _tell(self, what: bytes) -> None:
        if self._transport.is_connected:
            try:
                await self._transport.publish(f"{WORKERS}.{self._id}", what)
            except Unavailable:
                return  # the others notice the silence


def _weight(worker: str, image_stream: str) -> bytes:
    return blake2b(image_stream.encode(), key=worker.encode(), digest_size=8).digest()
