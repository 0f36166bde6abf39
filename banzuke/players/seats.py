"""Agents that need no process of their own, seated on a lane: see ``match/lanes.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banzuke.errors import AgentStartError
from banzuke.players.opening import CANNOT_PLAY
from banzuke.players.scripted import MaterialPlayer, RandomPlayer
from banzuke.specs import CheckpointAgent, ExternalAgent, MaterialAgent, RandomAgent

if TYPE_CHECKING:
    from banzuke.games.shogi import ShogiBoard
    from banzuke.match.lanes import LanePlayer
    from banzuke.outcome import Side
    from banzuke.players.networks.residents import Residents

LaneAgent = RandomAgent | MaterialAgent | CheckpointAgent | ExternalAgent


class ScriptedSeat:
    """A built-in player in one game."""

    device = "cpu"
    network = None

    def __init__(self, agent: RandomAgent | MaterialAgent, *, side: Side, seed: int) -> None:
        player = MaterialPlayer(agent.depth) if isinstance(agent, MaterialAgent) else RandomPlayer()
        player.new_game(side=side, seed=seed, deadline=float("inf"))
        self.agent = agent.name
        self.is_instant = isinstance(player, RandomPlayer)
        self.choose_native = player.choose_native

    def query(self, board: ShogiBoard, moves: list[int]) -> object:
        """Nothing is ever asked."""
        raise NotImplementedError


def seat_of(agent: LaneAgent, agent_id: str, *, side: Side, seed: int, residents: Residents | None) -> LanePlayer:
    """Seat an agent in a game.

    Args:
        agent: from a validated spec.
        agent_id: what it is in the plan; a network's file may have been replaced since.
        side: the side it plays.
        seed: the game's; both players are given the same.
        residents: the networks that are loaded here; None where no agent has one.

    Raises:
        AgentStartError: its network cannot be loaded, or is not that of the plan.
    """
    if isinstance(agent, ExternalAgent):
        raise AgentStartError(CANNOT_PLAY)
    if isinstance(agent, CheckpointAgent):
        if residents is None:
            raise TypeError(f"{agent.name}: this worker was started without torch")
        return residents.seat(agent, agent_id, side=side, seed=seed)
    return ScriptedSeat(agent, side=side, seed=seed)
