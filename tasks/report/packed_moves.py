"""Moves as bytes that deflate well: about a byte a ply, all of them played again by the page's script.

A move is said as its mover would: *the second of my silvers, one step straight ahead*. That takes up to four small
numbers (*symbols*), and each is put beside those that were said in the same circumstances (its *context*), because
deflate learns what is frequent stretch by stretch. ``games_unpack.js`` undoes it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tasks.report.listed_games import FIRST_DROP, KINDS, NO_EVAL, UNREADABLE, plies_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CONTEXTS = 512
"""As many as there are numbered below, and some."""
WHICH = 32
"""Before it: the kind of the piece, by the kind that its side moved last. From here: which of its side's pieces of the
kind, by the kind."""
STEP = 64
"""How far, by the kind and which."""
PROMOTES = 192
"""Whether it promotes where it may, by the kind."""
SHARED = 208
"""How many plies the game has in common with the one before: high byte, low byte."""
TIME_HIGH, TIME_LOW = 224, 256
"""The time of a move, by half a byte that is near it."""
EVAL_KNOWN, EVAL_HIGH, EVAL_LOW = 288, 290, 292

DROPPED = 16
WHITE = 16
"""On a board, added to the kind of a piece."""
_PROMOTED = 8
_MAY_PROMOTE = np.isin(np.arange(32), [KINDS.index(kind) for kind in "PLNSBR"])
_NO_CHOICE = 2
_ROWS_AT_ONCE = 4_000
_FEW_SYMBOLS = 300
"""Fewer are not worth a stretch of their own."""
_LEVEL = 6
"""Of deflate: 9 saves another hundredth and takes three times as long."""
_PIECE = re.compile(r"\+?[PLNSGBRKplnsgbrk]|[1-9]")
_SQUARES = np.arange(81, dtype=np.int8)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Moves as their movers would say them; shapes (plies,)."""

    kind: NDArray[np.uint8]
    """1 to 8 as in :data:`KINDS`, 9 to 15 promoted, 17 to 23 dropped."""
    which: NDArray[np.uint8]
    """Of its side's pieces of the kind, counted in reading order with the board turned towards the mover."""
    step: NDArray[np.uint8]
    """80 and the difference of the squares' numbers, the board turned likewise; of a drop the square."""
    promotes: NDArray[np.uint8]
    """0 or 1, or 2 where there is no choice."""
    readable: NDArray[np.int64]
    """(rows,) how many plies from the start can be played on a board."""


def tell(
    moves: NDArray[np.uint16], starts: NDArray[np.int64], start: NDArray[np.int32], positions: Sequence[str]
) -> Told:
    """Play all games at once, a ply of each at a time; nothing is judged but whether there is a piece to move.

    Args:
        moves: (plies,) as of :class:`ListedGames`.
        starts: (rows + 1,) where a row's plies begin.
        start: (rows,) index of its start position.
        positions: SFEN.
    """
    kind, which, step, promotes = (np.zeros(len(moves), dtype=np.uint8) for _ in range(4))
    readable = np.zeros(len(starts) - 1, dtype=np.int64)
    told = Told(kind=kind, which=which, step=step, promotes=promotes, readable=readable)
    known = [board_of(position) for position in positions]
    boards = np.array([np.zeros(81, np.uint8) if found is None else found[0] for found in known]).reshape(-1, 81)
    turns = np.array([-1 if found is None else found[1] for found in known], dtype=np.int64)
    for begin in range(0, len(starts) - 1, _ROWS_AT_ONCE):
        rows = np.arange(begin, min(begin + _ROWS_AT_ONCE, len(starts) - 1))
        _tell_some(moves, starts, rows, boards[start[rows]], turns[start[rows]], told)
    return told


def _tell_some(
    moves: NDArray[np.uint16],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    boards: NDArray[np.uint8],
    turns: NDArray[np.int64],
    told: Told,
) -> None:
    lengths = np.where(turns < 0, 0, starts[rows + 1] - starts[rows])
    # The longest first: those that go on are always the first so many.
    order = np.argsort(-lengths, kind="stable")
    rows, turns, lengths = rows[order], turns[order], lengths[order]
    squares = np.ascontiguousarray(boards[order].T)
    readable = lengths.copy()
    for ply in range(int(lengths.max(initial=0))):
        many = int(np.searchsorted(-lengths, -ply))
        going = np.arange(many)
        places = starts[rows[:many]] + ply
        word = moves[places].astype(np.int64)
        to, origin, promotes = np.minimum(word & 127, 80), word >> 7 & 127, word >> 14 & 1
        is_white = (turns[:many] + ply) % 2 == 1
        is_drop = origin >= FIRST_DROP
        square = np.where(is_drop, 0, origin)
        piece = np.where(is_drop, np.minimum(origin - FIRST_DROP, 8) + DROPPED, squares[square, going])
        kind = np.where(is_drop, piece, piece & 15)
        seen_to, seen_from = np.where(is_white, 80 - to, to), np.where(is_white, 80 - square, square)
        may_promote = _MAY_PROMOTE[kind] & ~is_drop & ((seen_to < 27) | (seen_from < 27))
        target = squares[to, going]
        is_mine = (piece & 15 > 0) & (is_drop | ((piece & WHITE > 0) == is_white))
        is_free = (target == 0) | (~is_drop & ((target & WHITE > 0) != is_white))
        is_good = (word != UNREADABLE) & is_mine & is_free & (may_promote | (promotes == 0))
        # A game that has gone wrong goes on, but nobody looks at what becomes of it.
        readable[:many][~is_good & (readable[:many] > ply)] = ply
        told.kind[places] = kind
        told.which[places] = np.where(is_drop, 0, _which(squares[:, :many], piece, square, is_white))
        told.step[places] = np.where(is_drop, seen_to, seen_to - seen_from + 80)
        told.promotes[places] = np.where(may_promote, promotes, _NO_CHOICE)
        squares[square, going] = np.where(is_drop, squares[square, going], 0)
        squares[to, going] = np.where(is_drop, piece - DROPPED + WHITE * is_white, piece + _PROMOTED * promotes)
    told.readable[rows] = readable


def _which(
    squares: NDArray[np.uint8], piece: NDArray[np.int64], origin: NDArray[np.int64], is_white: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    alike = squares == piece.astype(np.uint8)
    square = origin.astype(np.int8)
    is_ahead = np.where(is_white, square < _SQUARES, square > _SQUARES)
    counts: NDArray[np.uint8] = np.sum(alike & is_ahead, axis=0, dtype=np.uint8)
    return counts


@cache
def board_of(sfen: str) -> tuple[NDArray[np.uint8], int] | None:
    """(81,) kinds of pieces with :data:`WHITE`, and who has the move: 0 Black, 1 White; None for no SFEN at all."""
    fields = sfen.split(" ")
    if len(fields) not in {3, 4} or fields[1] not in {"b", "w"} or not fields[0].isascii():
        return None
    board: list[int] = []
    for rank in fields[0].split("/"):
        squares: list[int] = []
        for text in _PIECE.findall(rank):
            squares += [0] * int(text) if text.isdigit() else [_piece(text)]
        if "".join(_PIECE.findall(rank)) != rank or len(squares) != 9:
            return None
        board += squares
    return (np.array(board, dtype=np.uint8), "bw".index(fields[1])) if len(board) == 81 else None


def _piece(text: str) -> int:
    kind = KINDS.index(text[-1].upper()) + (_PROMOTED if text[0] == "+" else 0)
    return kind + (WHITE if text[-1].islower() else 0)


def pack_moves(
    moves: NDArray[np.uint16],
    told: Told,
    starts: NDArray[np.int64],
    start: NDArray[np.int32],
    rows: NDArray[np.int64],
) -> bytes:
    """The readable plies of some rows, in this order, each without what it shares with the one before it.

    Args:
        moves: (plies,).
        told: of them.
        starts: (rows + 1,).
        start: (rows,) index of the start position.
        rows: which.
    """
    shared = _shared(moves, told, starts, start, rows)
    plies = _between(starts[rows] + shared, starts[rows] + told.readable[rows])
    ply = plies - np.repeat(starts[rows], told.readable[rows] - shared)
    kind, which, step = told.kind[plies], told.which[plies], told.step[plies]
    before = np.where(ply < 2, 0, told.kind[plies - 2 * (ply >= 2)])
    is_drop, is_choice = kind >= DROPPED, told.promotes[plies] != _NO_CHOICE
    return _pack(
        [
            (before, kind),
            (WHICH + kind[~is_drop].astype(np.int64), which[~is_drop]),
            (STEP + 4 * kind.astype(np.int64) + np.minimum(which, 3), step),
            (PROMOTES + kind[is_choice].astype(np.int64), told.promotes[plies][is_choice]),
            (np.full(len(rows), SHARED), shared >> 8),
            (np.full(len(rows), SHARED + 1), shared & 255),
        ]
    )


def _shared(
    moves: NDArray[np.uint16],
    told: Told,
    starts: NDArray[np.int64],
    start: NDArray[np.int32],
    rows: NDArray[np.int64],
) -> NDArray[np.int64]:
    shared = np.zeros(len(rows), dtype=np.int64)
    if len(rows) < 2:
        return shared
    later, earlier = rows[1:], rows[:-1]
    common = np.minimum(told.readable[later], told.readable[earlier])
    common[start[later] != start[earlier]] = 0
    differs = (
        moves[_between(starts[later], starts[later] + common)]
        != moves[_between(starts[earlier], starts[earlier] + common)]
    )
    begins = np.cumsum(common) - common
    first_difference = np.append(np.flatnonzero(differs), len(differs))
    found = first_difference[np.searchsorted(first_difference, begins)] - begins
    shared[1:] = np.minimum(found, common)
    return shared


def pack_clocks(
    times_ms: NDArray[np.int32], evals: NDArray[np.int16], starts: NDArray[np.int64], rows: NDArray[np.int64],
    readable: NDArray[np.int64],
) -> bytes:  # fmt: skip
    """The times and the movers' evaluations of some rows' readable plies, in this order."""
    plies = _between(starts[rows], starts[rows] + readable[rows])
    ply = plies - np.repeat(starts[rows], readable[rows])
    time = short_times(times_ms[plies])
    high = (time >> 8).astype(np.int64)
    score = evals[plies].astype(np.int64)
    own = np.where(ply < 2, NO_EVAL, evals[plies - 2 * (ply >= 2)])
    was_known, is_known = own != NO_EVAL, score != NO_EVAL
    change = (score - np.where(was_known, own, 0))[is_known] & 0xFFFF
    folded = np.where(change < 0x8000, change << 1, (0xFFFF - change) << 1 | 1)
    two = int(folded.size)
    return _pack(
        [
            (np.full(len(time), TIME_HIGH), high),
            (TIME_LOW + np.minimum(high, 31), time & 255),
            (EVAL_KNOWN + was_known.astype(np.int64), is_known),
            (np.full(two, EVAL_HIGH), folded >> 8),
            (EVAL_LOW + np.minimum(folded >> 8, 31), folded & 255),
        ]
    )


def short_times(times_ms: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Milliseconds as 16 bits: exact below 4.1 s, to a thousandth above."""
    times = np.clip(times_ms, 0, 2**26 - 1).astype(np.int64)
    exponent = np.maximum(0, np.ceil(np.log2(times + 1.0)).astype(np.int64) - 12)
    # The power of two that the logarithm rounds to is one short of itself.
    exponent += times >> exponent > 0xFFF
    short: NDArray[np.int64] = exponent << 12 | times >> exponent
    return short


def _between(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """All whole numbers of the ranges, one after the other."""
    bounds = np.empty(2 * len(begins), dtype=np.int64)
    bounds[0::2], bounds[1::2] = begins, ends
    return plies_of(bounds, np.arange(0, 2 * len(begins), 2))


def _pack(said: Sequence[tuple[NDArray[np.integer], NDArray[np.generic]]]) -> bytes:
    """Symbols in the order in which they were said, context by context, behind the contexts' lengths."""
    contexts = np.concatenate([context.astype(np.uint16) for context, _ in said])
    symbols = np.concatenate([symbol.astype(np.uint8) for _, symbol in said])
    ordered = symbols[np.argsort(contexts, kind="stable")]
    lengths = np.bincount(contexts, minlength=CONTEXTS)
    pieces, begin = [lengths.astype("<u4").tobytes()], 0
    for end in np.cumsum(lengths).tolist():
        if end - begin >= _FEW_SYMBOLS:
            pieces.append(ordered[begin:end].tobytes())
            begin = end
    pieces.append(ordered[begin:].tobytes())
    return deflated(pieces)


def deflated(pieces: Sequence[bytes]) -> bytes:
    """All of them in one stream, each with a code of its own for what is frequent in it."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    packed = [part for piece in pieces for part in (stream.compress(piece), stream.flush(zlib.Z_SYNC_FLUSH))]
    return b"".join([*packed, stream.flush()])
