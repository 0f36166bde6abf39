"""Games in CSA's file format (Computer Shogi Association, versions 1 to 3), as far as they say how a game went."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cshogi

from banzuke.games.positions import START_POSITION
from banzuke.outcome import Outcome, Termination
from storage.notation.diagram import Diagram
from storage.notation.draft import (
    Draft,
    NotationError,
    ReadGame,
    ended_without_a_word,
    lost,
    lost_by_foul,
    lost_on_time,
    moment,
    plain_name,
    unfinished,
)
from storage.notation.remark import read_remark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from banzuke.games.shogi import ShogiBoard

_MOVE = re.compile(r"[+-][0-9]{4}[A-Z]{2}")
_TIME = re.compile(r"T([0-9]{1,6})(?:\.([0-9]{1,3})[0-9]*)?")
_SCORE = re.compile(r"\*\* *(-?[0-9]{1,9})(?: .*)?")
_POSITION = re.compile(r"PI(?:[1-9]{2}[A-Z]{2})*|P[1-9].{0,27}|P[+-](?:[0-9]{2}[A-Z]{2})*|[+-]")
_SPECIAL = re.compile(r"%[-+A-Z_]+")
_PIECES = {
    "FU": "P", "KY": "L", "KE": "N", "GI": "S", "KA": "B", "HI": "R", "KI": "G", "OU": "K",
    "TO": "+P", "NY": "+L", "NK": "+N", "NG": "+S", "UM": "+B", "RY": "+R",
}  # fmt: skip
_DRAWN = {
    "%SENNICHITE": Termination.REPETITION,
    "%JISHOGI": Termination.ENTERING_KING,
    "%MAX_MOVES": Termination.MAX_PLIES,
    "%HIKIWAKE": Termination.ADJUDICATED_DRAW,
}


def read_csa(lines: Sequence[tuple[int, str]]) -> ReadGame:
    """One game.

    Args:
        lines: with their numbers in the file.

    Raises:
        NotationError: it is none.
    """
    game, position = Draft(), list[str]()
    for number, statement in _statements(lines):
        if _is_about_the_game(game, statement):
            continue
        if _POSITION.fullmatch(statement) and not game.has_begun:
            position.append(statement)
            continue
        is_special = _SPECIAL.fullmatch(statement) is not None
        if not is_special and not _MOVE.fullmatch(statement):
            raise NotationError(f"line {number}: {statement[:40]!r} is neither CSA nor KIF")
        if not game.has_begun:
            game.begin(_position(position, number), number)
        if is_special:
            return game.ended(_outcome(statement, game.board))
        _move(game, statement, number)
    if not game.has_begun:
        if not position:
            raise NotationError(f"line {lines[0][0]}: there is no game in it")
        game.begin(_position(position, lines[0][0]), lines[0][0])
    return game.ended(ended_without_a_word(game.board))


def _statements(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Several may share a line, parted by commas, unless they are text."""
    for number, line in lines:
        if line.startswith(("'", "N", "$")):
            yield number, line
        else:
            yield from ((number, statement.strip()) for statement in line.split(",") if statement.strip())


def _is_about_the_game(game: Draft, statement: str) -> bool:
    """Take in a statement that moves nothing; whether it was one."""
    if statement.startswith("'"):
        if score := _SCORE.fullmatch(statement[1:]):
            game.set_score(int(score[1]))
        game.remark = game.remark or read_remark(statement[1:])
    elif statement.startswith(("N+", "N-")):
        game.names[statement[1] == "-"] = plain_name(statement[2:])
    elif statement.startswith("$"):
        key, _, value = statement[1:].partition(":")
        game.event = plain_name(value) if key == "EVENT" else game.event
        game.opening = plain_name(value) if key == "OPENING" else game.opening
        game.started_at = moment(value) if key == "START_TIME" else game.started_at
    elif time := _TIME.fullmatch(statement):
        game.set_time(1000 * int(time[1]) + int((time[2] or "").ljust(3, "0")))
    else:
        return statement.startswith("V")
    return True


def _move(game: Draft, statement: str, number: int) -> None:
    board = game.board
    has_the_move = "+" if board.cshogi.turn == cshogi.BLACK else "-"
    native = board.cshogi.move_from_csa(statement[1:]) if statement[0] == has_the_move else 0
    game.push(native, number, statement)


def _position(statements: Sequence[str], number: int) -> str:
    """The start position they describe, the usual one for none; cshogi's own reader does not survive every text."""
    diagram = Diagram()
    for statement in statements or ("PI", "+"):
        if statement.startswith("PI"):
            diagram.set_up(START_POSITION)
            for file, rank in re.findall("([1-9])([1-9])[A-Z]{2}", statement):
                diagram.squares.pop((int(file), int(rank)), None)
        elif statement[1:2].isdigit():
            for place, cell in enumerate(re.findall(".{1,3}", statement[2:])):
                if cell.strip(" *"):
                    diagram.squares[9 - place, int(statement[1])] = _piece(cell, number)
        elif statement.startswith("P"):
            _put(diagram, statement, number)
        else:
            diagram.black_has_the_move = statement == "+"
    return diagram.sfen()


def _put(diagram: Diagram, statement: str, number: int) -> None:
    sign = statement[1]
    for file, rank, piece in re.findall("([0-9])([0-9])([A-Z]{2})", statement):
        if piece == "AL":
            diagram.take_the_rest(black=sign == "+")
        elif file + rank == "00":
            diagram.hands[sign == "+"][_piece(f"+{piece}", number)] += 1
        else:
            diagram.squares[int(file), int(rank)] = _piece(sign + piece, number)


def _piece(cell: str, number: int) -> str:
    piece = _PIECES.get(cell[1:])
    if piece is None or cell[0] not in "+-":
        raise NotationError(f"line {number}: there is no piece {cell!r} (in the position before it)")
    return piece if cell[0] == "+" else piece.lower()


def _outcome(special: str, board: ShogiBoard) -> Outcome:
    mover = board.side_to_move
    if special in _DRAWN:
        return Outcome(termination=_DRAWN[special])
    match special:
        case "%TORYO":
            outcome = lost(mover, board, Termination.RESIGNATION)
        case "%TSUMI":
            outcome = lost(mover, board, Termination.ADJUDICATED_WIN)
        case "%KACHI":
            outcome = Outcome(termination=Termination.ENTERING_KING, winner=mover)
        case "%TIME_UP":
            outcome = lost_on_time(mover)
        case "%ILLEGAL_MOVE":
            outcome = lost_by_foul(mover, board)
        case "%+ILLEGAL_ACTION":
            outcome = lost_by_foul(board.black, board)
        case "%-ILLEGAL_ACTION":
            outcome = lost_by_foul(board.black.other, board)
        case _:
            outcome = unfinished(f"the game ends with {special}")
    return outcome
