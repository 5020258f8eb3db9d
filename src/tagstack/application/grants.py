"""Who may read which project: a file of `actor: [namespaces]`, or everyone everything without one."""

from __future__ import annotations

import msgspec

from tagstack.domain.errors import Forbidden

EVERYONE = "*"


class Grants(msgspec.Struct, frozen=True):
    """Grants as read from the grants file. None means that there is no file: all may read all.

    The actor `*` stands for everyone, the namespace `*` for every project.
    """

    namespaces: dict[str, list[str]] | None = None

    def allows(self, actor: str, namespace: str) -> bool:
        """Return whether an actor may read a project."""
        if self.namespaces is None:
            return True
        granted = [*self.namespaces.get(actor, ()), *self.namespaces.get(EVERYONE, ())]
        return namespace in granted or EVERYONE in granted

    def check(self, actor: str, namespace: str, what: str) -> None:
        """Raise Forbidden, naming what was asked for, unless the actor may read the project."""
        if not self.allows(actor, namespace):
            raise Forbidden(
                f'{what} is forbidden: actor "{actor}" has no grant for namespace "{namespace}" in the grants file'
            )
