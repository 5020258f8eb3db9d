"""How much is measured: about a minute by default, all of it with `--full`."""

from __future__ import annotations

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """How often each figure is taken, and how many requests or events it is taken from."""

    times: int = 3
    commands: int = 12_000
    hot: int = 4_000
    aliases: int = 256
    mappings: int = 3_000
    steady_s: float = 1.0
    folds: int = 1  # of the whole log, beside draining it
    log_events: int = 0  # pushed until the log has so many, before the projector is measured


FULL = Sizes(
    times=7,
    commands=100_000,
    hot=20_000,
    aliases=2_048,
    mappings=20_000,
    steady_s=10.0,
    folds=3,
    log_events=1_000_000,
)
