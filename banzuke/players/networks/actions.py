"""Which output of a policy head means which move: Keisei's two action maps, as tables over cshogi's moves.

Both maps see the board as the mover does (turned by 180 degrees for White), squares numbered 9 * row + column
with row 0 the far rank and column 0 on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cshogi
import numpy as np

from banzuke.players.networks.encoding import perspective_squares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

IMPOSSIBLE = -1
"""Stands in the tables where there is no such move or action."""

_MOVE16_SIZE = 1 << 15
_MOVE16_MASK = _MOVE16_SIZE - 1
_PROMOTES = 1 << 14
_DROP_SOURCE = 80
_HAND = (
    cshogi.PAWN,
    cshogi.LANCE,
    cshogi.KNIGHT,
    cshogi.SILVER,
    cshogi.GOLD,
    cshogi.BISHOP,
    cshogi.ROOK,
)
_DIRECTIONS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
_SLOTS = 139


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActionMap:
    """A numbering of moves."""

    name: str
    size: int
    """How many outputs the policy head has."""
    index_of: NDArray[np.int32]
    """``(2, 32768)``: Black's and White's actions by cshogi's move, to + 128 * from + 16384 * promotes."""
    move_of: NDArray[np.int32]
    """``(2, size)``: the 15-bit move of an action, for Black and White."""

    def indices(self, moves: Sequence[int], *, mover: int) -> NDArray[np.int32]:
        """The actions of cshogi's moves.

        Args:
            moves: as cshogi's ``legal_moves`` gives them.
            mover: cshogi's colour of the side to move.

        Returns:
            ``(len(moves),)``, :data:`IMPOSSIBLE` for what no piece can do.
        """
        move16 = np.array(moves, dtype=np.int64) & _MOVE16_MASK
        indices: NDArray[np.int32] = self.index_of[mover, move16]
        return indices

    def to_usi(self, index: int, *, mover: int) -> str:
        """The move of an action in USI.

        Raises:
            ValueError: the action is none, or leads off the board.
        """
        if not 0 <= index < self.size or self.move_of[mover, index] == IMPOSSIBLE:
            raise ValueError(f"action {index} of {self.name} is no move")
        usi: str = cshogi.move_to_usi(int(self.move_of[mover, index]))
        return usi


@cache
def flat_13527() -> ActionMap:
    """The flat map: 81 x 80 board moves, plain and promoting, then 81 x 7 drops."""
    return _build("keisei-13527", 13_527, _flat_board_move, _flat_drop)


@cache
def spatial_11259() -> ActionMap:
    """The spatial map: 139 slots on each of 81 squares: 8 directions x 8 distances x 2, 4 jumps, 7 drops."""
    return _build("keisei-11259", 81 * _SLOTS, _spatial_board_move, _spatial_drop)


def _build(
    name: str,
    size: int,
    board_move: Callable[[int, int, int], int],
    drop: Callable[[int, int], int],
) -> ActionMap:
    index_of = np.full((2, _MOVE16_SIZE), IMPOSSIBLE, dtype=np.int32)
    move_of = np.full((2, size), IMPOSSIBLE, dtype=np.int32)
    squares = perspective_squares()
    for mover in cshogi.COLORS:
        seen = squares[mover].tolist()
        for to in range(81):
            actions = {
                to + 128 * source + promotes * _PROMOTES: board_move(seen[source], seen[to], promotes)
                for source in range(81)
                for promotes in (0, 1)
                if source != to
            }
            actions |= {to + 128 * (_DROP_SOURCE + kind): drop(seen[to], hand) for hand, kind in enumerate(_HAND)}
            for move16, index in actions.items():
                if index != IMPOSSIBLE:
                    index_of[mover, move16] = index
                    move_of[mover, index] = move16
    index_of.flags.writeable = False
    move_of.flags.writeable = False
    return ActionMap(name=name, size=size, index_of=index_of, move_of=move_of)


def _flat_board_move(source: int, to: int, promotes: int) -> int:
    return 160 * source + 2 * (to - (to > source)) + promotes


def _flat_drop(to: int, hand: int) -> int:
    return 12_960 + 7 * to + hand


def _spatial_board_move(source: int, to: int, promotes: int) -> int:
    rows = to // 9 - source // 9
    columns = to % 9 - source % 9
    if rows == -2 and abs(columns) == 1:
        # No other piece moves like that, so geometry alone tells a knight.
        return _SLOTS * source + 128 + 2 * (columns == 1) + promotes
    distance = max(abs(rows), abs(columns))
    step = (rows // distance, columns // distance)
    if (rows, columns) != (distance * step[0], distance * step[1]):
        return IMPOSSIBLE
    return _SLOTS * source + 8 * _DIRECTIONS.index(step) + distance - 1 + 64 * promotes


def _spatial_drop(to: int, hand: int) -> int:
    return _SLOTS * to + 132 + hand
