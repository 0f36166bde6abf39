"""Opening books: where games begin, so that two deterministic agents do not play one game over and over."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from banzuke.errors import SpecError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.suites.position_file import clipped, read_position_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BOOK = "shogi-balanced.sfen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a game begins: a position, and the book's moves from there."""

    opening_id: str
    """``o-`` and 12 hexadecimal digits that follow from the position and the moves alone."""
    start_position: str
    """Four-field SFEN of the position before the book's moves."""
    moves: tuple[str, ...]
    """USI; agents see them as the first moves of the game."""


def read_book(path: Path) -> tuple[Opening, ...]:
    """Read an opening book: one opening per line, in the order of the file.

    A line is ``startpos``, or a four-field SFEN with or without the prefix ``sfen``; ``moves`` and moves in
    USI may follow. ``#`` begins a comment.

    Raises:
        SpecError: the file cannot be read or is empty, or lines are at fault, one line for each: a malformed
            SFEN, an illegal move, a game that is over before the agents' first move, an opening given twice.
    """
    return read_position_file(path, parse_opening, _name)


def default_book() -> tuple[Opening, ...]:
    """The book that comes with the package: balanced openings of 6 to 16 plies from the start position.

    ``docs/openings-and-suites.md`` says how it was made.
    """
    with resources.as_file(resources.files("banzuke.match.books") / _BOOK) as path:
        return read_book(path)


def choose_openings(book: Sequence[Opening], *, seed: int, encounter: str, count: int) -> list[Opening]:
    """The openings of one encounter's pairs, each used once.

    The order is that of the SHA-256 of seed, encounter and opening, so it is the same on every machine, and a
    longer encounter begins with the openings of a shorter one.

    Args:
        book: openings that differ from each other.
        seed: the spec's.
        encounter: ``"<agent>--<agent>"``.
        count: pairs to be played.

    Raises:
        SpecError: the book has fewer than ``count`` openings.
    """
    if count > len(book):
        raise SpecError(
            f"openings: the book has {len(book)} openings, {count} are needed, one for every two games of an "
            f"encounter: games_per_encounter can be at most {2 * len(book)}, or give a larger book "
            "(examples/make_openings.py makes one)"
        )
    return sorted(book, key=lambda opening: _draw(seed, encounter, opening))[:count]


def parse_opening(line: str) -> Opening:
    """One line of a book, without its comment.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    words = line.split()
    at = words.index("moves") if "moves" in words else len(words)
    position, moves = words[:at], words[at + 1 :]
    if at == len(words) - 1:
        raise ValueError("no move follows the word 'moves'")
    board = _board(position, len(moves))
    start_position = board.position()
    _play(board, moves)
    return Opening(opening_id=_opening_id(start_position, moves), start_position=start_position, moves=tuple(moves))


def _board(position: list[str], plies: int) -> ShogiBoard:
    sfen = START_POSITION if position == ["startpos"] else " ".join(position).removeprefix("sfen ")
    if sfen.startswith("startpos"):
        raise ValueError(f"{clipped(sfen)}: 'startpos' is followed by 'moves' and moves, or by nothing")
    # One more than is played: a book's length is no end of the game.
    return ShogiRules("csa").start(sfen, max_plies=plies + 1)


def _play(board: ShogiBoard, moves: list[str]) -> None:
    if board.outcome() is not None:
        raise ValueError("the game is over in this position, before the first move")
    for number, move in enumerate(moves, start=1):
        if not board.is_legal(move):
            raise ValueError(f"move {number}, {clipped(move)}, is illegal in {board.position()}")
        board.push(move)
        outcome = board.outcome()
        if outcome is not None:
            raise ValueError(f"move {number}, {move}, ends the game ({outcome.termination})")


def _opening_id(start_position: str, moves: list[str]) -> str:
    content = " ".join(["sfen", start_position, "moves", *moves])
    return f"o-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _name(opening: Opening) -> str:
    return f"opening {opening.opening_id}"


def _draw(seed: int, encounter: str, opening: Opening) -> bytes:
    return hashlib.sha256(f"{seed}|{encounter}|{opening.opening_id}".encode()).digest()
