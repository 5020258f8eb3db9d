"""An image that arrives at a tag, because of whom and when: what the entry says about it."""

from __future__ import annotations

import msgspec

from tagstack.domain.events import Head, Hold, Provenance, Withheld


class Context(msgspec.Struct, frozen=True):
    """Who asks, why, under which command id, and when.

    `uid` is given to an image stream that the command creates; `internal_registry` fills in pull
    specs; `create` allows a mapping to create its image stream; `recorded` says that its image is known.
    """

    actor: str
    cause: str
    now: str
    reason: str = ""
    uid: str = ""
    caused_by: int | None = None
    internal_registry: str = ""
    create: bool = True
    recorded: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """An image that arrives at a tag. `restores` and `promoted_from` are the entry's provenance."""

    image: str
    pull_spec: str
    origin: str
    restores: int | None = None
    promoted_from: Provenance | None = None
    hold: Hold | None = None  # put on the tag by the same event

    def head(self, context: Context, time: str, generation: int) -> Head:
        """Return the entry that the image makes on top of the stack."""
        return Head(
            image=self.image,
            pull_spec=self.pull_spec,
            generation=generation,
            since=time,
            actor=context.actor,
            origin=self.origin,
            cause=context.cause,
            reason=context.reason,
            caused_by=context.caused_by,
            restores=self.restores,
            promoted_from=self.promoted_from,
        )

    def withheld(self, context: Context, time: str) -> Withheld:
        """Return what a held tag keeps of it."""
        return Withheld(
            image=self.image,
            pull_spec=self.pull_spec,
            time=time,
            actor=context.actor,
            origin=self.origin,
            reason=context.reason,
            caused_by=context.caused_by,
        )

    def follows(self) -> Arrival:
        """Return the same image as it arrives at a tag that follows."""
        return msgspec.structs.replace(self, origin="alias", restores=None, promoted_from=None, hold=None)
