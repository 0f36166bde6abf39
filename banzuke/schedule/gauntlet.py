"""Challengers against the field."""

from __future__ import annotations

from collections.abc import Sequence

from banzuke.schedule.pairing import Encounter


def gauntlet(agents: Sequence[str], challengers: Sequence[str]) -> tuple[Encounter, ...]:
    """Each challenger against every agent that is no challenger, in the order of the spec."""
    field = [agent for agent in agents if agent not in challengers]
    return tuple(Encounter.between(challenger, other) for challenger in challengers for other in field)
