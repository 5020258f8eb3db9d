"""The dead letters: queued commands that were refused, kept with the reason until somebody decides."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from tagstack.adapters.nats_client import ServiceClient
from tagstack.adapters.nats_intake import COMMAND_ID, REASON
from tagstack.adapters.nats_streams import DEAD_STREAM
from tagstack.adapters.nats_subjects import DEAD, QUEUE, addressee
from tagstack.domain.errors import NotFound, TagstackError, Unavailable
from tagstack.domain.nesting import UNREADABLE

DEAD_REASON = "Tagstack-Dead-Reason"
DEAD_STATUS = "Tagstack-Dead-Status"
DEAD_SUBJECT = "Tagstack-Dead-Subject"
DEAD_TIME = "Tagstack-Dead-Time"

_NOT_FOUND = 10037


class DeadLetter(msgspec.Struct, frozen=True):
    """One dead letter. `id` is its sequence in TAGSTACK_DEAD, `subject` where it was sent first."""

    id: int
    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def row(self) -> dict[str, Any]:
        """Return it as a list shows it."""
        actor, target = self.addressee
        return {
            "id": self.id,
            "time": self.headers.get(DEAD_TIME),
            "actor": actor,
            "image_stream": target,
            "reason": self.headers.get(DEAD_REASON, ""),
            "command_id": self.headers.get(COMMAND_ID, ""),
        }

    @property
    def addressee(self) -> tuple[str, str]:
        """Return who sent it and to which image stream; the subject itself where it is malformed."""
        try:
            actor, target = addressee(self.subject, QUEUE)
        except TagstackError:
            return "", self.subject
        return actor, str(target)

    @property
    def whole(self) -> dict[str, Any]:
        """Return everything about it."""
        return self.row | {
            "subject": self.subject,
            "status": _json(self.headers.get(DEAD_STATUS, "").encode()),
            "command_reason": self.headers.get(REASON, ""),
            "headers": self.headers,
            "payload": _json(self.body),
        }


class DeadLetters:
    """TAGSTACK_DEAD as an operator sees it."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def list(self, limit: int) -> tuple[list[DeadLetter], int]:
        """Return the oldest dead letters and how many there are."""
        state = (await self._client.jetstream(f"STREAM.INFO.{DEAD_STREAM}"))["state"]
        found: list[DeadLetter] = []
        start = int(state["first_seq"])
        while len(found) < limit and (letter := await self._next(start)):
            found.append(letter)
            start = letter.id + 1
        return found, int(state["messages"])

    async def get(self, number: int) -> DeadLetter:
        """Return one dead letter. Raises NotFound."""
        letter = await self._get({"seq": number})
        if letter is None:
            raise NotFound(f"there is no dead letter {number}")
        return letter

    async def retry(self, letter: DeadLetter) -> None:
        """Queue a command again under its own id, then delete the dead letter.

        Dying in between leaves both; the id makes a second retry harmless.
        """
        kept = {
            name: value for name, value in letter.headers.items() if not name.startswith(("Tagstack-Dead-", "Nats-"))
        }
        reply = await self._client.request(letter.subject, letter.body, kept)
        if b'"stream"' not in reply.data or b'"error"' in reply.data:
            raise Unavailable(f"the queue does not take dead letter {letter.id}: {reply.data.decode()[:200]}")
        await self.drop(letter.id)

    async def drop(self, number: int) -> None:
        """Delete a dead letter."""
        await self._client.jetstream(f"STREAM.MSG.DELETE.{DEAD_STREAM}", {"seq": number})

    async def _next(self, start: int) -> DeadLetter | None:
        return await self._get({"seq": start, "next_by_subj": f"{DEAD}.>"})

    async def _get(self, wanted: dict[str, Any]) -> DeadLetter | None:
        reply = await self._client.request(f"$JS.API.STREAM.MSG.GET.{DEAD_STREAM}", json.dumps(wanted).encode(), {})
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            if error.get("err_code") == _NOT_FOUND:
                return None
            raise Unavailable(f"the dead letters can't be read: {error.get('description')}")
        message = answer["message"]
        headers = _headers(base64.b64decode(message.get("hdrs", "")))
        subject = headers.get(DEAD_SUBJECT) or QUEUE + message["subject"][len(DEAD) :]
        return DeadLetter(int(message["seq"]), subject, headers, base64.b64decode(message.get("data", "")))


def _headers(raw: bytes) -> dict[str, str]:
    """Return the headers of a stored message."""
    found = {}
    for line in raw.decode(errors="replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _json(body: bytes) -> Any:
    """Return what a JSON body says; what is no JSON as text."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        return body.decode(errors="replace")
