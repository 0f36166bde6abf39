"""How fast games come to an end, and how long the rest will take."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 5.0
"""So many games' time without a game that counts, and nobody knows how long the rest will take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the games so far say of those to come."""

    per_minute: float
    seconds_left: float | None
    """None where only games are left that do not come to an end: a time that is extrapolated would count up."""


def pace(*, done: int, left: int, elapsed: float, silent: float) -> Pace | None:
    """The pace of an invocation, or None before there is one.

    Args:
        done: games that it has brought to a counting result.
        left: games still without one.
        elapsed: seconds since it began to play.
        silent: seconds since the last game that counts.
    """
    if not done or elapsed <= 1:
        return None
    rate = done / elapsed
    seconds = left / rate
    return Pace(per_minute=rate * 60, seconds_left=seconds if silent < max(seconds, PATIENCE / rate) else None)
