"""A position put together piece by piece, as both notations describe it, and its SFEN."""

from __future__ import annotations

import re
from collections import Counter

_SET = Counter({"P": 18, "L": 4, "N": 4, "S": 4, "G": 4, "B": 2, "R": 2})
_CELL = re.compile(r"[1-9]|\+?[A-Za-z]")


class Diagram:
    """Pieces on the board and in hand; White's in lower case. Whether it can occur is asked elsewhere."""

    def __init__(self) -> None:
        self.squares: dict[tuple[int, int], str] = {}
        """By (file, rank), both from 1."""
        self.hands: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        """Black's by True, White's by False; pieces in upper case."""
        self.black_has_the_move = True

    def set_up(self, sfen: str) -> None:
        """Put the pieces of a position's board."""
        for rank, row in enumerate(sfen.split(" ", maxsplit=1)[0].split("/"), 1):
            file = 9
            for cell in _CELL.findall(row):
                if cell.isdigit():
                    file -= int(cell)
                else:
                    self.squares[file, rank] = cell
                    file -= 1

    def take_the_rest(self, *, black: bool) -> None:
        """Put what a full set has and is nowhere yet, kings left out, into a hand."""
        used = Counter(piece.strip("+").upper() for piece in self.squares.values())
        self.hands[black] += _SET - used - self.hands[True] - self.hands[False]

    def sfen(self) -> str:
        """Four fields."""
        rows = ["".join(self.squares.get((file, rank), " ") for file in range(9, 0, -1)) for rank in range(1, 10)]
        board = "/".join(re.sub(" +", lambda run: str(len(run[0])), row) for row in rows)
        held = "".join(
            f"{count if count > 1 else ''}{piece if black else piece.lower()}"
            for black, pieces in self.hands.items()
            for piece, count in pieces.items()
        )
        return f"{board} {'b' if self.black_has_the_move else 'w'} {held or '-'} 1"
