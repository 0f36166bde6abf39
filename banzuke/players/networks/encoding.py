"""What a network sees: a shogi position as 9 x 9 planes, always from the side of whoever is to move.

Rows run from rank a to rank i, columns from file 9 to file 1; with White to move the board is turned by 180
degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cshogi
import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]

_PLAIN = (
    cshogi.PAWN,
    cshogi.LANCE,
    cshogi.KNIGHT,
    cshogi.SILVER,
    cshogi.GOLD,
    cshogi.BISHOP,
    cshogi.ROOK,
    cshogi.KING,
)
_PROMOTED = (
    cshogi.PROM_PAWN,
    cshogi.PROM_LANCE,
    cshogi.PROM_KNIGHT,
    cshogi.PROM_SILVER,
    cshogi.PROM_BISHOP,
    cshogi.PROM_ROOK,
)
_OWN_HAND, _OPPONENT_HAND, _COLOUR, _COUNTER, _REPETITION, _CHECK = 28, 35, 42, 43, 44, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One of Keisei's plane layouts; planes 0 to 43 mean the same in all of them.

    0-13 the mover's pieces (P L N S G B R K, then promoted P L N S B R), 14-27 the opponent's, 28-34 the
    mover's hand (P L N S G B R, each count divided by its maximum), 35-41 the opponent's, 42 ones if Black is
    to move, 43 the move counter. With ``has_history``: 44-47 ones where the position occurred 1, 2, 3, 4 or
    more times before, 48 ones where the mover is in check. Whatever is left is zero.
    """

    name: str
    planes: int
    default_max_plies: int
    """Scale of the move counter where nobody says otherwise."""
    clamps_counter: bool
    """Whether the move counter stays at 1 beyond ``max_plies``."""
    has_history: bool
    """Whether there are planes for repetition and check."""

    def write(
        self,
        board: Any,  # noqa: ANN401 - a cshogi.Board; cshogi ships no types
        row: Planes,
        *,
        occurrences: int,
        ply: int,
        max_plies: int,
    ) -> None:
        """Write one position into ``row``.

        Args:
            board: the position, a ``cshogi.Board``.
            row: float32, ``(planes, 9, 9)``, a row of a batch; overwritten whole.
            occurrences: how often the position has occurred in its game, now included (so at least 1).
            ply: moves made since a game's usual start, the SFEN's move number - 1 + the moves after it.
            max_plies: what the move counter is divided by.
        """
        row.fill(0.0)
        mover = board.turn
        pieces = np.array(board.pieces, dtype=np.intp)
        squares = np.flatnonzero(pieces)
        row[_PLANE[mover, pieces[squares]], _ROW[mover, squares], _COLUMN[mover, squares]] = 1.0
        hands = np.array(board.pieces_in_hand, dtype=np.float32) / _HAND_MAXIMA
        row[_OWN_HAND:_OPPONENT_HAND] = hands[mover][:, None, None]
        row[_OPPONENT_HAND:_COLOUR] = hands[1 - mover][:, None, None]
        row[_COLOUR] = 1.0 if mover == cshogi.BLACK else 0.0
        counter = ply / max_plies
        row[_COUNTER] = min(max(counter, 0.0), 1.0) if self.clamps_counter else counter
        if self.has_history:
            if occurrences > 1:
                row[_REPETITION + min(occurrences, 5) - 2] = 1.0
            if board.is_check():
                row[_CHECK] = 1.0


KEISEI_OLD_46 = Encoding(
    name="keisei-old-46", planes=46, default_max_plies=500, clamps_counter=False, has_history=False
)
KEISEI_NEW_46 = Encoding(name="keisei-new-46", planes=46, default_max_plies=512, clamps_counter=True, has_history=False)
KEISEI_NEW_50 = Encoding(name="keisei-new-50", planes=50, default_max_plies=512, clamps_counter=True, has_history=True)


def perspective_squares() -> NDArray[np.intp]:
    """Where cshogi's squares lie for whoever is to move.

    Returns:
        ``(2, 81)``: for Black, White and each of cshogi's squares (9 * (file - 1) + rank, rank a = 0) the
        square 9 * row + column as the mover sees it.
    """
    square = np.arange(81)
    seen_by_black = 9 * (square % 9) + 8 - square // 9
    return np.stack([seen_by_black, 80 - seen_by_black])


def _plane_of_piece() -> NDArray[np.intp]:
    """``(2, 31)``: the plane of each of cshogi's coloured pieces, for Black and for White to move."""
    planes = np.zeros((2, 31), dtype=np.intp)
    for mover in cshogi.COLORS:
        for colour in cshogi.COLORS:
            for plane, kind in enumerate((*_PLAIN, *_PROMOTED)):
                planes[mover, kind + cshogi.NOTUSE * colour] = plane + (0 if colour == mover else 14)
    return planes


_PLANE = _plane_of_piece()
_ROW, _COLUMN = np.divmod(perspective_squares(), 9)
_HAND_MAXIMA = np.array(cshogi.MAX_PIECES_IN_HAND, dtype=np.float32)
