"""A message of the log as it is copied out of it and back: with its position, its headers and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

TRANSPORT = "Nats-"  # headers that tell a server what to do with a message; no part of what the message says
_BATCH_ID, _BATCH_COMMIT = "Nats-Batch-Id", "Nats-Batch-Commit"


class Record(msgspec.Struct, frozen=True):
    """One message of the log. `stored` is when the server took it (RFC 3339)."""

    position: int
    stored: str
    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_inside_batch(self) -> bool:
        """Return whether later messages were stored together with this one, all or none."""
        return _BATCH_ID in self.headers and _BATCH_COMMIT not in self.headers

    @property
    def own_headers(self) -> dict[str, str]:
        """Return the headers that belong to the message, wherever it is stored."""
        return {name: value for name, value in self.headers.items() if not name.startswith(TRANSPORT)}

    @property
    def size(self) -> int:
        """Return about how many bytes the message has."""
        return len(self.body) + len(self.subject) + sum(len(name) + len(value) for name, value in self.headers.items())

    def digest(self) -> str:
        """Return what tells this message from every other one, whichever server holds it."""
        told = [self.position, self.subject, sorted(self.own_headers.items()), self.body]
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


class Reached(msgspec.Struct, frozen=True, rename="camel"):
    """How far something got in the log, and what tells whether it was this log."""

    position: int
    sha256: str

    @classmethod
    def by(cls, record: Record) -> Reached:
        """Return that this record was reached."""
        return cls(record.position, record.digest())


def whole_batches(records: Iterable[Record], open_batch: list[Record]) -> list[Record]:
    """Return the records up to the last one that ends a batch; the others stay in `open_batch`."""
    whole: list[Record] = []
    for record in records:
        open_batch.append(record)
        if not record.is_inside_batch:
            whole += open_batch
            open_batch.clear()
    return whole
