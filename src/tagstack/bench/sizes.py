"""How much is measured: a minute or two by default, all of it with `--full`."""

from __future__ import annotations

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """How often each figure is taken, and how many requests or events it is taken from.

    `logs` are the lengths of the log, rising, that the read path is measured with.
    """

    times: int = 3
    commands: int = 12_000
    hot: int = 4_000
    aliases: int = 256
    mappings: int = 3_000
    steady_s: float = 1.0
    synced: int = 4_000
    synced_single: int = 500
    logs: tuple[int, ...] = (200_000,)
    folds: int = 1  # of the whole log, beside draining it; of the longest one where there are several, one
    lookups: int = 200


FULL = Sizes(
    times=5,
    commands=50_000,
    hot=10_000,
    aliases=1_024,
    mappings=10_000,
    steady_s=5.0,
    synced=20_000,
    synced_single=2_000,
    logs=(1_000_000, 10_000_000),
    folds=3,
    lookups=1_000,
)
