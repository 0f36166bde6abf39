"""Everybody against everybody."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from banzuke.schedule.pairing import Encounter


def round_robin(agents: Sequence[str]) -> tuple[Encounter, ...]:
    """Every two agents once, in the order of the spec."""
    return tuple(Encounter.between(one, other) for one, other in combinations(agents, 2))
