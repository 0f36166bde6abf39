"""Shogi positions as text (SFEN), checked completely before any native code sees them.

cshogi ends the whole process on a malformed SFEN, misreads a hand that names a piece twice and accepts
positions that no game can reach, so nothing may be handed to it that did not pass :func:`check_position`.
"""

from __future__ import annotations

import re
from collections import Counter

import cshogi

START_POSITION = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL b - 1"
"""The usual start position (hirate)."""

LARGEST_MOVE_NUMBER = 100_000

_PIECES_OF_A_GAME = {"P": 18, "L": 4, "N": 4, "S": 4, "G": 4, "B": 2, "R": 2, "K": 2}
_PROMOTABLE = frozenset("PLNSBR")
_HOLDABLE = "PLNSGBR"
_IN_HAND = re.compile(rf"([1-9][0-9]?)?([{_HOLDABLE}{_HOLDABLE.lower()}])")
_MOVE_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_COLOURS = {True: "Black", False: "White"}
_RANKS_WITHOUT_A_MOVE = {"P": 1, "L": 1, "N": 2}
_SHOWN_CHARACTERS = 80


def check_position(sfen: str) -> None:
    """Make sure that a text is a four-field SFEN of a position that can be played on.

    Board, side, hands and move number (1 to 100000), one space between them, no prefix. Each side has one
    king, no kind of piece is there more often than in a game (fewer are allowed: handicaps, problems), no
    side has two unpromoted pawns on a file, no piece stands where it could never move, and the side that is
    not to move is not in check, kings side by side included.

    Args:
        sfen: any text at all.

    Raises:
        ValueError: with one line that names the fault.
    """
    if not sfen.isascii():
        raise _fault(sfen, "not all of it is ASCII")
    fields = sfen.split(" ")
    if len(fields) != 4:
        raise _fault(sfen, f"has {len(fields)} fields; an SFEN has four: board, side, hands, move number")
    board, side, hands, move_number = fields
    if side not in {"b", "w"}:
        raise _fault(sfen, "the side to move is neither b nor w")
    if not _MOVE_NUMBER.fullmatch(move_number) or int(move_number) > LARGEST_MOVE_NUMBER:
        raise _fault(sfen, f"the move number is not a number from 1 to {LARGEST_MOVE_NUMBER}")
    squares = _squares(sfen, board)
    _check_kings(sfen, squares)
    _check_pieces(sfen, squares, _in_hand(sfen, hands))
    turned = f"{board} {'b' if side == 'w' else 'w'} {hands} {move_number}"
    if cshogi.Board(turned).is_check():
        raise _fault(sfen, "the side that is not to move is in check")


def _squares(sfen: str, board: str) -> list[tuple[int, int, str]]:
    """Every piece on the board as rank from 0 (a), column from 0 (file 9) and its letter, ``+`` before it."""
    ranks = board.split("/")
    if len(ranks) != 9:
        raise _fault(sfen, f"the board has {len(ranks)} ranks instead of 9")
    squares = []
    for rank, text in enumerate(ranks):
        column = 0
        promoted = ""
        for character in text:
            if not promoted and character in "123456789":
                column += int(character)
            elif not promoted and character == "+":
                promoted = "+"
            elif character.upper() in (_PROMOTABLE if promoted else _PIECES_OF_A_GAME):
                squares.append((rank, column, promoted + character))
                column += 1
                promoted = ""
            else:
                no_piece = _quoted(promoted + character)
                raise _fault(sfen, f"rank {'abcdefghi'[rank]} has {no_piece}, which is no piece")
        if promoted:
            raise _fault(sfen, f"rank {'abcdefghi'[rank]} ends with '+'")
        if column != 9:
            raise _fault(sfen, f"rank {'abcdefghi'[rank]} has {column} squares instead of 9")
    return squares


def _in_hand(sfen: str, hands: str) -> Counter[str]:
    """How many of each piece are in hand, by letter, upper case for Black."""
    counts: Counter[str] = Counter()
    if hands == "-":
        return counts
    end = 0
    for found in _IN_HAND.finditer(hands):
        if found.start() != end:
            break
        end = found.end()
        count, piece = found.groups()
        if piece in counts:
            raise _fault(sfen, f"the hands name {piece} twice")
        counts[piece] = int(count or 1)
    if end != len(hands) or not counts:
        raise _fault(sfen, "the hands are neither '-' nor pieces with counts, such as 2P3p")
    return counts


def _check_pieces(sfen: str, squares: list[tuple[int, int, str]], in_hand: Counter[str]) -> None:
    kinds = Counter(piece[-1].upper() for _, _, piece in squares)
    for piece, count in in_hand.items():
        kinds[piece.upper()] += count
    for kind, most in _PIECES_OF_A_GAME.items():
        if kinds[kind] > most:
            raise _fault(sfen, f"there are {kinds[kind]} pieces of the kind {kind}, a game has {most}")
    pawns = Counter((column, piece) for _, column, piece in squares if piece in {"P", "p"})
    for (column, piece), count in pawns.items():
        if count > 1:
            raise _fault(sfen, f"{_COLOURS[piece.isupper()]} has {count} pawns on file {9 - column}")
    for rank, column, piece in squares:
        ranks_ahead = rank if piece.isupper() else 8 - rank
        if ranks_ahead < _RANKS_WITHOUT_A_MOVE.get(piece.upper(), 0):
            raise _fault(sfen, f"the {piece} on {9 - column}{'abcdefghi'[rank]} could never move")


def _check_kings(sfen: str, squares: list[tuple[int, int, str]]) -> None:
    letters = [piece for _, _, piece in squares]
    for king in ("K", "k"):
        if letters.count(king) != 1:
            raise _fault(sfen, f"{_COLOURS[king.isupper()]} has {letters.count(king)} kings instead of 1")
    kings = [(rank, column) for rank, column, piece in squares if piece in {"K", "k"}]
    if all(abs(one - other) <= 1 for one, other in zip(*kings, strict=True)):
        # cshogi does not count a king's own attack as a check.
        raise _fault(sfen, "the kings stand next to each other")


def _fault(sfen: str, fault: str) -> ValueError:
    return ValueError(f"position {_quoted(sfen)}: {fault}")


def _quoted(text: str) -> str:
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return ascii(shown)
