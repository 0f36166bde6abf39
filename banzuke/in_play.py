"""A game that is being played, as whoever watches its run is shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from banzuke.outcome import Side

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Phase = Literal["queued", "opening", "waiting", "thinking"]
"""``queued``: its worker has it, and has not begun; ``opening``: an agent is made ready; ``waiting``: for its
turn, where many games advance together; ``thinking``: an agent is choosing a move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameInPlay:
    """One game, at one moment."""

    run_id: str
    game_id: str
    attempt: int
    game: str
    rules: str
    first_agent: str
    second_agent: str
    worker: int
    """Process id, on the machine that plays."""
    lane: int | None
    """Number of the game among those that advance together in its worker, from 1; None where it has a worker alone."""
    phase: Phase
    plies: int | None = None
    """Moves made, book included; None where the worker has not said so yet, as for the position."""
    last_move: str = ""
    """In the game's notation; empty where there is none."""
    position: str = ""
    """In the game's notation (SFEN); empty where it is not known."""
    seconds: Seconds | None = None
    """How long the move that is being chosen has taken so far; None where none is."""
    limit_seconds: Seconds | None = None
    """How long it may take, on the wall."""

    @property
    def mover(self) -> Side | None:
        """Who has the move, where that is known."""
        return None if self.plies is None else (Side.FIRST, Side.SECOND)[self.plies % 2]
