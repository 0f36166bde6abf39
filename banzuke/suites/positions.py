"""Position suites: positions with the moves that are right there, and those that every agent is probed with.

The format is EPD, as chess programmers have it, with an SFEN in front: the opcodes ``bm`` (best moves) and
``id`` of section 16.2 of Steven Edwards's "Portable Game Notation Specification and Implementation Guide".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.suites.position_file import clipped, read_position_file

if TYPE_CHECKING:
    from pathlib import Path

FORM = '<four-field SFEN> bm MOVE [MOVE ...]; id "NAME";'
LONGEST_ID = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePosition:
    """A position to put to an agent, and what it should answer."""

    position_id: str
    """Unique in its suite."""
    position: str
    """Four-field SFEN."""
    best_moves: tuple[str, ...]
    """The right answers in USI; empty where any legal move will do."""


PROBES: tuple[SuitePosition, ...] = (
    SuitePosition(position_id="probe-start", position=START_POSITION, best_moves=()),
    # White to move, with a piece in hand.
    SuitePosition(
        position_id="probe-white",
        position="ln2kgsnl/1sgr5/1ppppp1pp/p5p2/9/P1P6/1P1PPPPPP/1GS2SR2/LN2K1GNL w Bb 16",
        best_moves=(),
    ),
    # 251 legal moves, most of them drops of five kinds of piece.
    SuitePosition(
        position_id="probe-drops",
        position="3k3+P1/2g2s3/1pn2p2p/4p1G2/p2p3K1/1R1nPP3/PP1P1S2P/3G1s3/L1+r5L b BG2NL4Pbslp 99",
        best_moves=(),
    ),
    # In check with two legal moves, both by the king.
    SuitePosition(
        position_id="probe-check",
        position="l+Rg4nl/1s4rg1/1pppp+Pks1/p3P1p2/2P4pp/P8/1PGP2P1P/2S2SG2/+bN2K2NL w BN2Pl 66",
        best_moves=(),
    ),
    # The one legal move is a promotion that the rules demand; it mates, so that nobody would rather resign.
    SuitePosition(
        position_id="probe-promotion",
        position="8k/7Pp/7L1/1r7/9/9/9/5r3/K8 b 2b4g4s4n3l16p 1",
        best_moves=(),
    ),
    # Both kings in the enemy's camp, neither with the ten pieces around it that a declaration needs.
    SuitePosition(
        position_id="probe-entering-king",
        position="9/3+PKG2+R/3S5/9/9/9/5s3/+r2gk+p3/9 b BGS2N2L8Pbgs2n2l8p 201",
        best_moves=(),
    ),
)
"""Fixed positions for the question whether an agent answers with legal moves at all."""


def read_suite(path: Path) -> tuple[SuitePosition, ...]:
    """Read a suite, one position per line, in the order of the file. ``#`` begins a comment.

    Raises:
        SpecError: the file cannot be read or is empty, or lines are at fault, one line for each: another form
            than :data:`FORM`, a malformed SFEN, an illegal move, an id given twice.
    """
    return read_position_file(path, parse_position, _name)


def passes(position: SuitePosition, answer: str) -> bool:
    """Whether ``answer``, any text at all, is a right one. Resigning and declaring a win are no moves."""
    if position.best_moves:
        return answer in position.best_moves
    return _board(position.position).is_legal(answer)


def parse_position(line: str) -> SuitePosition:
    """One line of a suite, without its comment.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    position, moves, position_id = _fields(" ".join(line.split()))
    if not 1 <= len(position_id) <= LONGEST_ID or not position_id.isprintable():
        raise ValueError(f"id {clipped(position_id)}: 1 to {LONGEST_ID} printable characters are needed")
    board = _board(position.removeprefix("sfen "))
    _check_moves(board, moves)
    return SuitePosition(position_id=position_id, position=board.position(), best_moves=tuple(moves))


def _fields(line: str) -> tuple[str, list[str], str]:
    # Cut by hand: on hostile lines a regular expression for this form would take time cubic in their length.
    position, _, after = line.partition(" bm ")
    moves, _, name = after.partition(";")
    name = name.strip().removesuffix(";").rstrip()
    opcode, _, quoted = name.partition(" ")
    if opcode != "id" or quoted.count('"') != 2 or quoted[0] + quoted[-1] != '""':
        raise ValueError(f"{clipped(line)} is not of the form {FORM}")
    return position, moves.split(), quoted[1:-1].strip()


def _board(position: str) -> ShogiBoard:
    return ShogiRules("csa").start(position, max_plies=1)


def _check_moves(board: ShogiBoard, moves: list[str]) -> None:
    if not moves:
        raise ValueError("no move follows 'bm'")
    for move in moves:
        if not board.is_legal(move):
            raise ValueError(f"move {clipped(move)} is illegal in {board.position()}")
        if moves.count(move) > 1:
            raise ValueError(f"move {move} is given twice")


def _name(position: SuitePosition) -> str:
    return f"id {position.position_id!r}"
