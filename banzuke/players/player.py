"""A running agent, seated in games one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from banzuke.clock import Clock
    from banzuke.games.rules import Board
    from banzuke.outcome import Side

RESIGN = "resign"
DECLARE_WIN = "win"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A player's answer: a move, ``resign`` or ``win``, unverified, exactly as the agent said it."""

    move: str
    eval_cp: int | None = None
    """The mover's own score in centipawns, from its own view, where it reports one."""
    elapsed_ms: int | None = None
    """Thinking time where the player measures it closer to the source than its caller can."""


class Player(Protocol):
    """One agent opened in this process. Used by one game at a time."""

    @property
    def claims_wins(self) -> bool:
        """Whether it can declare an entering-king win itself; for one that cannot, the match declares."""
        ...

    @property
    def device(self) -> str:
        """What it computes on: ``cpu``, ``cuda:0``."""
        ...

    def new_game(self, *, side: Side, seed: int, deadline: float) -> None:
        """Get ready for a new game.

        Args:
            side: the side it plays.
            seed: the only source of randomness it may use in this game.
            deadline: on the monotonic clock; hard.

        Raises:
            AgentError: it cannot.
        """
        ...

    def choose(self, board: Board, *, clock: Clock, opponent_clock: Clock, deadline: float) -> Choice:
        """Answer for the side to move. ``board`` must be left as it was.

        Args:
            board: the position with its history.
            clock: this player's own clock, before the move is charged.
            opponent_clock: the opponent's.
            deadline: on the monotonic clock; hard, whatever the agent prints meanwhile.

        Raises:
            AgentStallError: no answer by the deadline. The player is unusable afterwards.
            AgentCrashError: it ended or cannot answer. The player is unusable afterwards.
        """
        ...

    def game_over(self, winner: Side | None) -> None:
        """Tell it the result. Never raises, never waits."""
        ...

    def close(self) -> None:
        """Let go of everything: processes ended and reaped, memory freed. Never raises."""
        ...
