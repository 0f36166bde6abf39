"""Shogi positions drawn with characters: as Japanese programs print them, or in ASCII."""

from __future__ import annotations

import re
from collections.abc import Mapping

from banzuke.games.rules import Picture

_KANJI = {"P": "歩", "L": "香", "N": "桂", "S": "銀", "G": "金", "B": "角", "R": "飛", "K": "玉"}
_PROMOTED = {"P": "と", "L": "杏", "N": "圭", "S": "全", "B": "馬", "R": "龍"}
_WIDE_NOUGHT = 0xFF10
"""The digits that are as wide as a kanji begin with it."""
_RANKS, _RANKS_IN_LETTERS = "一二三四五六七八九", "abcdefghi"
_CELL = re.compile(r"[1-9]|\+?[A-Za-z]")
_HELD = re.compile(r"([0-9]*)([A-Za-z])")
_TARGET = re.compile(r"[1-9PLNSGBR][a-i*]([1-9])([a-i])\+?")
_HAND_ORDER = "RBGSNLP"


def drawn(position: str, black: str, white: str, *, last_move: str, letters: bool) -> Picture:
    """A position with the pieces in hand, Black's below and White's above.

    Args:
        position: an SFEN that was checked.
        black: what Black is called.
        white: what White is called.
        last_move: in USI; empty for none.
        letters: in ASCII, White's pieces in lower case, instead of in kanji, White's with a v.
    """
    board, _, held, _ = position.split(" ")
    rows = [_cells(row) for row in board.split("/")]
    # Each cell is as wide as every other: three letters, or a sign and a kanji.
    header = "".join(f"  {file}" if letters else f" {chr(_WIDE_NOUGHT + file)}" for file in range(9, 0, -1))
    ranks = _RANKS_IN_LETTERS if letters else _RANKS
    lines = [
        f"White, {white}: {_hand(held, white=True, letters=letters)}",
        header,
        *(
            "".join(map(_in_letters if letters else _in_kanji, row)) + f" {rank}"
            for row, rank in zip(rows, ranks, strict=True)
        ),
        f"Black, {black}: {_hand(held, white=False, letters=letters)}",
    ]
    return Picture(lines=tuple(lines), mark=_mark(last_move, 3 if letters else 2))


def _cells(row: str) -> list[str]:
    cells: list[str] = []
    for cell in _CELL.findall(row):
        cells += [""] * int(cell) if cell.isdigit() else [cell]
    return cells


def _in_letters(piece: str) -> str:
    return f"{piece or '.':>3}"


def _in_kanji(piece: str) -> str:
    if not piece:
        return " ・"
    names: Mapping[str, str] = _PROMOTED if piece.startswith("+") else _KANJI
    return ("v" if piece.islower() else " ") + names[piece.strip("+").upper()]


def _hand(held: str, *, white: bool, letters: bool) -> str:
    counts = {piece.upper(): int(count or 1) for count, piece in _HELD.findall(held) if piece.islower() == white}
    names = {piece: piece if letters else _KANJI[piece] for piece in counts}
    shown = [f"{names[piece]}{counts[piece] if counts[piece] > 1 else ''}" for piece in _HAND_ORDER if piece in counts]
    return " ".join(shown) or "nothing in hand"


def _mark(last_move: str, width: int) -> tuple[int, int, int] | None:
    target = _TARGET.fullmatch(last_move)
    if target is None:
        return None
    start = (9 - int(target[1])) * width
    return 2 + _RANKS_IN_LETTERS.index(target[2]), start, start + width
