"""From an agent's spec to a running player. Only what an agent needs is imported: engines never load torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banzuke.errors import AgentStartError
from banzuke.players.scripted import MaterialPlayer, RandomPlayer
from banzuke.specs import AnyAgent, CheckpointAgent, ExternalAgent, MaterialAgent, UsiAgent

if TYPE_CHECKING:
    from banzuke.players.player import Player

CANNOT_PLAY = "its games were imported; it cannot play here"


def open_player(agent: AnyAgent, *, deadline: float, agent_id: str | None = None) -> Player:
    """Open an agent in this process.

    Args:
        agent: from a validated spec.
        deadline: on the monotonic clock; hard.
        agent_id: what a checkpoint must be; None before it has been evaluated.

    Raises:
        AgentStartError: it could not be opened or made ready, or is not what it must be.
    """
    if isinstance(agent, ExternalAgent):
        raise AgentStartError(CANNOT_PLAY)
    if isinstance(agent, UsiAgent):
        from banzuke.players.usi import UsiPlayer  # noqa: PLC0415 - most workers have no engine

        return UsiPlayer.open(agent, deadline=deadline)
    if isinstance(agent, CheckpointAgent):
        from banzuke.players.checkpoint import CheckpointPlayer, check_identity  # noqa: PLC0415 - imports torch

        if agent_id is not None:
            check_identity(agent, agent_id)
        return CheckpointPlayer.open(agent, deadline=deadline)
    return MaterialPlayer(agent.depth) if isinstance(agent, MaterialAgent) else RandomPlayer()
