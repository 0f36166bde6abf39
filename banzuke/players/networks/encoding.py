"""What a network sees: a shogi position as 9 x 9 planes, always from the side of whoever is to move.

Rows run from rank a to rank i, columns from file 9 to file 1; with White to move the board is turned by 180
degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def write_batch(
        self,
        boards: Sequence[Any],
        planes: Planes,
        *,
        occurrences: Sequence[int],
        max_plies: Sequence[int],
    ) -> None:
        """Write positions into the first rows of a batch. Moves made are the SFEN's move number - 1 + those after it.

        Args:
            boards: the positions, each a ``cshogi.Board``.
            planes: float32, ``(B, 9, 9, planes)``, contiguous, B at least ``len(boards)``: with its axes permuted to
                ``(B, planes, 9, 9)`` this is torch's channels-last layout. The first rows are overwritten whole.
            occurrences: how often each position has occurred in its game, now included (so at least 1).
            max_plies: what each move counter is divided by.
        """
        count = len(boards)
        movers = np.array([board.turn for board in boards], dtype=np.intp)
        constant = np.zeros((count, self.planes), dtype=np.float32)
        counts = np.frombuffer(b"".join([bytes(hand) for board in boards for hand in board.pieces_in_hand]), np.uint8)
        hands = counts.reshape(count, 2, 7) / _HAND_MAXIMA
        every = np.arange(count)
        constant[:, _OWN_HAND:_OPPONENT_HAND] = hands[every, movers]
        constant[:, _OPPONENT_HAND:_COLOUR] = hands[every, 1 - movers]
        constant[:, _COLOUR] = movers == cshogi.BLACK
        counter = np.array([board.move_number - 1 for board in boards]) / np.array(max_plies)
        constant[:, _COUNTER] = counter.clip(0.0, 1.0) if self.clamps_counter else counter
        if self.has_history:
            for row, times in enumerate(occurrences):
                if times > 1:
                    constant[row, _REPETITION + min(times, 5) - 2] = 1.0
            constant[:, _CHECK] = [board.is_check() for board in boards]
        planes[:count] = constant[:, None, None, :]
        pieces = np.frombuffer(b"".join([bytes(board.pieces) for board in boards]), np.uint8)
        occupied = np.flatnonzero(pieces)
        rows, squares = np.divmod(occupied, 81)
        turns = movers[rows]
        seen = 81 * rows + _SEEN[turns, squares]
        planes.reshape(-1)[seen * self.planes + _PLANE[turns, pieces[occupied]]] = 1.0

    def write_one(
        self,
        board: Any,  # noqa: ANN401 - a cshogi.Board; cshogi ships no types
        row: Planes,
        *,
        occurrences: int = 1,
        max_plies: int | None = None,
    ) -> None:
        """Write one position into ``row``, float32, ``(planes, 9, 9)``; the rest as in :meth:`write_batch`."""
        planes = np.empty((1, 9, 9, self.planes), dtype=np.float32)
        self.write_batch([board], planes, occurrences=[occurrences], max_plies=[max_plies or self.default_max_plies])
        row[...] = planes[0].transpose(2, 0, 1)


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
_SEEN = perspective_squares()
_HAND_MAXIMA = np.array(cshogi.MAX_PIECES_IN_HAND, dtype=np.float32)
