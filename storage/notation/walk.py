"""A stored game move by move on a board, as the writers of notations need it. Colours are at home here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cshogi

from banzuke.errors import CorruptPartError
from banzuke.games.shogi import ShogiRules
from banzuke.outcome import Side

if TYPE_CHECKING:
    from banzuke.record import GameRecord

NO_END = 100_000
"""Of plies: whether a game was long enough to end is not asked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A game as colours see it."""

    record: GameRecord
    natives: tuple[int, ...]
    """The moves as cshogi's integers, which know the piece."""
    black: Side
    """Who plays Black (sente)."""
    black_has_the_move: bool
    """In the last position."""

    @property
    def names(self) -> tuple[str, str]:
        """Black's and White's."""
        both = (self.record.first_agent, self.record.second_agent)
        return both if self.black is Side.FIRST else (both[1], both[0])

    @property
    def black_won(self) -> bool | None:
        """None for a draw or no result."""
        return None if self.record.winner is None else self.record.winner is self.black

    def seconds(self, ply: int) -> int:
        """Whole seconds that a move took, as notations count; 0 where it is not known."""
        times = self.record.move_times_ms
        return max(times[ply], 0) // 1000 if ply < len(times) else 0

    def eval_for_black(self, ply: int) -> int | None:
        """The mover's score from Black's point of view, in centipawns."""
        evals = self.record.evals or ()
        score = evals[ply] if ply < len(evals) else None
        if score is None:
            return None
        is_black = (ply % 2 == 0) == (self.black is Side.FIRST)
        return score if is_black else -score


def walked(record: GameRecord) -> Walk:
    """The game played through.

    Raises:
        CorruptPartError: it begins in no position, or holds a move that is not legal.
    """
    try:
        board = ShogiRules("csa").start(record.start_position, max_plies=NO_END)
        for move in record.moves:
            board.push(move)
    except ValueError as error:
        raise CorruptPartError(f"game {record.game_id}: {error}") from error
    return Walk(
        record=record,
        natives=tuple(board.natives),
        black=board.black,
        black_has_the_move=board.cshogi.turn == cshogi.BLACK,
    )
