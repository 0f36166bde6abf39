"""From an agent's spec to a running player. Only what an agent needs is imported: engines never load torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banzuke.players.scripted import MaterialPlayer, RandomPlayer
from banzuke.specs import CheckpointAgent, MaterialAgent, RandomAgent, UsiAgent

if TYPE_CHECKING:
    from banzuke.players.player import Player


def open_player(agent: RandomAgent | MaterialAgent | UsiAgent | CheckpointAgent, *, deadline: float) -> Player:
    """Open an agent in this process.

    Args:
        agent: from a validated spec.
        deadline: on the monotonic clock; hard.

    Raises:
        AgentStartError: it could not be opened or made ready.
    """
    if isinstance(agent, UsiAgent):
        from banzuke.players.usi import UsiPlayer  # noqa: PLC0415 - most workers have no engine

        return UsiPlayer.open(agent, deadline=deadline)
    if isinstance(agent, CheckpointAgent):
        from banzuke.players.checkpoint import CheckpointPlayer  # noqa: PLC0415 - imports torch

        return CheckpointPlayer.open(agent, deadline=deadline)
    return MaterialPlayer(agent.depth) if isinstance(agent, MaterialAgent) else RandomPlayer()
