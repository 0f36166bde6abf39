"""The rules of shogi through cshogi, under two rule sets.

``csa``: the rules of computer shogi tournaments (Computer Shogi Association; the 27-point declaration,
fourfold repetition, perpetual check, no legal move loses). ``keisei``: what the trainer Keisei applies when
its networks play each other, approximations included, for results that can be compared with its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import cshogi

from banzuke.games.pictures import drawn
from banzuke.games.positions import START_POSITION, check_position
from banzuke.outcome import Outcome, Side, Termination

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from banzuke.games.rules import Picture, Rules

__all__ = ["START_POSITION", "RuleSet", "ShogiBoard", "ShogiRules", "check_position", "rules_named"]

RuleSet = Literal["csa", "keisei"]

_MOVE = re.compile(r"[1-9][a-i][1-9][a-i]\+?|[PLNSGBR]\*[1-9][a-i]")
_NOTHING_ASKED = ("", 0)
_REPETITIONS = 4
_IMPASSE_POINTS = 24
_IMPASSE_PIECES = 10
_MAJOR_PIECES = frozenset({cshogi.BISHOP, cshogi.ROOK, cshogi.PROM_BISHOP, cshogi.PROM_ROOK})


def rules_named(game: str, rules: str) -> Rules:
    """The rules a spec or a stored row names.

    Args:
        game: ``shogi``.
        rules: ``csa`` or ``keisei``.

    Raises:
        ValueError: no such game, or the game has no such rule set.
    """
    if game != "shogi":
        raise ValueError(f"unknown game {game!r}; known: shogi")
    for name in get_args(RuleSet):
        if rules == name:
            return ShogiRules(name)
    raise ValueError(f"shogi has no rule set {rules!r}; known: {', '.join(get_args(RuleSet))}")


@dataclass(frozen=True, slots=True)
class ShogiRules:
    """Shogi under one rule set."""

    name: RuleSet = "csa"

    @property
    def game(self) -> str:
        """``shogi``."""
        return "shogi"

    def start(self, start_position: str, *, max_plies: int) -> ShogiBoard:
        """A board at ``start_position``.

        Args:
            start_position: four-field SFEN, no prefix.
            max_plies: the game is drawn when this many moves were made (book moves counted).

        Raises:
            ValueError: the position is malformed or cannot occur in a game.
        """
        _check_once(start_position)
        return ShogiBoard(start_position, max_plies=max_plies, rules=self.name)

    def side_names(self) -> tuple[str, str]:
        """Black, who moves first at the usual start position, and White."""
        return ("sente", "gote")

    def picture(
        self, position: str, *, mover: Side, players: Mapping[Side, str], last_move: str = "", letters: bool = False
    ) -> Picture:
        """A position as people of the game draw it, Black below; see :meth:`banzuke.games.rules.Rules.picture`."""
        check_position(position)
        black = mover if position.split(" ")[1] == "b" else mover.other
        return drawn(position, players[black], players[black.other], last_move=last_move, letters=letters)


class ShogiBoard:
    """A game of shogi in progress. Made by :meth:`ShogiRules.start`, which checks the position first.

    Attributes:
        cshogi: the ``cshogi.Board`` underneath, for players that read planes from it or search on it. Whoever
            pushes on it pops as much again before returning.
    """

    def __init__(self, start_position: str, *, max_plies: int, rules: RuleSet) -> None:
        self.cshogi = cshogi.Board(start_position)
        self._start_position = start_position
        self._max_plies = max_plies
        self._rules = rules
        self._black = Side.FIRST if self.cshogi.turn == cshogi.BLACK else Side.SECOND
        self._moves: list[int] = []
        self._spelt: list[str] = []
        self._last_asked = _NOTHING_ASKED
        self._judged: tuple[int, Outcome | None] = (-1, None)
        key = self.cshogi.zobrist_hash()
        self._keys = [key]
        self._times_seen = {key: 1}

    @property
    def start_position(self) -> str:
        """Four-field SFEN the game started from, as it was given."""
        return self._start_position

    @property
    def moves(self) -> Sequence[str]:
        """Every move since the start position, in USI."""
        self._spelt.extend(cshogi.move_to_usi(move) for move in self._moves[len(self._spelt) :])
        return self._spelt

    @property
    def natives(self) -> Sequence[int]:
        """Every move since the start position as cshogi's integers, which know the piece that moved."""
        return self._moves

    @property
    def side_to_move(self) -> Side:
        """``Side.FIRST`` is whoever has the move at the start position, Black or White."""
        return Side.SECOND if len(self._moves) % 2 else Side.FIRST

    @property
    def black(self) -> Side:
        """The side that plays Black (sente): ``Side.SECOND`` where White has the first move."""
        return self._black

    def position(self) -> str:
        """The present position as a four-field SFEN; the move number goes on from the start position's."""
        return str(self.cshogi.sfen())

    def occurrences(self) -> int:
        """How many times the present position (board, hands, side to move) has occurred, now included."""
        if self._times_seen[self._keys[-1]] == 1:
            return 1
        return len(self._occurrences(self._history_of_position()))

    def hashed_occurrences(self) -> int:
        """As :meth:`occurrences`, by 64-bit hashes alone: what a network is shown need not be proven."""
        return self._times_seen[self._keys[-1]]

    def legal_moves(self) -> list[str]:
        """Every legal move in USI, in cshogi's order, which depends on the position alone."""
        return [cshogi.move_to_usi(move) for move in self.cshogi.legal_moves]

    def is_legal(self, move: str) -> bool:
        """Whether ``move``, any text at all, is a legal move here. Never raises."""
        return self._native_move(move) != 0

    def push(self, move: str) -> None:
        """Play a legal move.

        Raises:
            ValueError: it is not legal here; the board is as it was.
        """
        native_move = self._native_move(move)
        if native_move == 0:
            raise ValueError(f"{move[:20]!r} is not a legal move in {self.position()}")
        self._make(native_move)

    def advance(self, native_move: int) -> list[int]:
        """Make a move and say what may be answered, in cshogi's integers, without a text on the way.

        Args:
            native_move: one of cshogi's legal moves here; not looked at again.

        Returns:
            Every legal move of the position reached, in cshogi's order; empty where :meth:`outcome` ends the game.
        """
        times_seen = self._make(native_move)
        answers = list(self.cshogi.legal_moves)
        goes_on = times_seen < _REPETITIONS and len(self._moves) < self._max_plies and self._rules == "csa"
        return answers if goes_on or self.outcome() is None else []

    def _make(self, native_move: int) -> int:
        """Make a legal move; how often the hash of the position reached has now been seen."""
        self.cshogi.push(native_move)
        self._moves.append(native_move)
        self._last_asked = _NOTHING_ASKED
        key = self.cshogi.zobrist_hash()
        self._keys.append(key)
        times_seen = self._times_seen.get(key, 0) + 1
        self._times_seen[key] = times_seen
        return times_seen

    def _native_move(self, move: str) -> int:
        """The move as cshogi's integer, 0 where it is not legal.

        cshogi's own tests, ``move_from_usi`` and ``is_legal``, let pass promotions outside the enemy camp and
        pieces left or dropped where they could never move, so only its list of legal moves decides.
        """
        asked, native_move = self._last_asked
        if move != asked:
            native_move = self.cshogi.move_from_usi(move) if _MOVE.fullmatch(move) else 0
            if native_move != 0 and native_move not in list(self.cshogi.legal_moves):
                native_move = 0
            self._last_asked = (move, native_move)
        return native_move

    def outcome(self) -> Outcome | None:
        """How the rules end the game in the present position, or None while it goes on.

        Under ``csa`` mate comes before repetition, and the length of the game last. Under ``keisei`` the
        order is Keisei's: length (even on the very ply that mates), repetition, impasse, no legal move.
        """
        plies, outcome = self._judged
        if plies != len(self._moves):
            outcome = self._judge()
            self._judged = (len(self._moves), outcome)
        return outcome

    def _judge(self) -> Outcome | None:
        if self._rules == "keisei":
            return (
                self._drawn_by_length() or self._keisei_repetition() or self._keisei_impasse() or self._without_a_move()
            )
        return self._without_a_move() or self._csa_repetition() or self._drawn_by_length()

    def may_declare_win(self) -> bool:
        """Whether the side to move may claim a win by declaration: never under ``keisei``.

        The 27-point rule of the CSA: not in check, own king in the enemy camp (the last three ranks), at
        least ten other own pieces there, and at least 28 points (Black) or 27 (White), rook and bishop
        counting 5, others 1, over the own pieces in the camp and in hand, king left out.
        """
        return self._rules == "csa" and bool(self.cshogi.is_nyugyoku())

    def _without_a_move(self) -> Outcome | None:
        if not self.cshogi.is_game_over():
            return None
        in_check = self.cshogi.is_check()
        return Outcome(
            termination=Termination.CHECKMATE if in_check else Termination.NO_LEGAL_MOVES,
            winner=self.side_to_move.other,
        )

    def _csa_repetition(self) -> Outcome | None:
        """Fourth occurrence: lost by the one side that gave check with every move of the cycle, else drawn.

        The cycle is everything since the first of the four occurrences. Where both sides gave check with
        every move, neither broke the rule more than the other, and it is a draw.
        """
        if self._times_seen[self._keys[-1]] < _REPETITIONS:
            return None
        history = self._history_of_position()
        occurrences = self._occurrences(history)
        if len(occurrences) < _REPETITIONS:
            return None
        checks = [in_check for _, in_check in history[occurrences[-_REPETITIONS] + 1 :]]
        last_mover_checked = all(checks[-1::-2])
        side_to_move_checked = all(checks[-2::-2])
        if last_mover_checked == side_to_move_checked:
            return Outcome(termination=Termination.REPETITION)
        winner = self.side_to_move if last_mover_checked else self.side_to_move.other
        return Outcome(termination=Termination.PERPETUAL_CHECK, winner=winner)

    def _drawn_by_length(self) -> Outcome | None:
        return Outcome(termination=Termination.MAX_PLIES) if len(self._moves) >= self._max_plies else None

    def _keisei_repetition(self) -> Outcome | None:
        """Fourth occurrence: won by the side to move if it is in check, else drawn.

        Keisei asks whether the side to move was in check at every earlier occurrence; being in check
        belongs to the position, so that is the same as being in check now.
        """
        if self._times_seen[self._keys[-1]] < _REPETITIONS or self.occurrences() < _REPETITIONS:
            return None
        if self.cshogi.is_check():
            return Outcome(termination=Termination.PERPETUAL_CHECK, winner=self.side_to_move)
        return Outcome(termination=Termination.REPETITION)

    def _keisei_impasse(self) -> Outcome | None:
        """Both kings in the enemy camp, each with ten pieces there, king included: 24 points win.

        A draw if both have them; the game goes on if neither has.
        Points are of the whole board and the hand. Nobody has to declare anything.
        """
        board = self.cshogi
        if not (_in_enemy_camp(board, cshogi.BLACK) and _in_enemy_camp(board, cshogi.WHITE)):
            return None
        enough = {}
        for colour in (cshogi.BLACK, cshogi.WHITE):
            squares = _squares_of(board, colour)
            if sum(_is_camp_square(square, colour) for square, _ in squares) < _IMPASSE_PIECES:
                return None
            enough[colour] = _points(squares, board.pieces_in_hand[colour]) >= _IMPASSE_POINTS
        if not any(enough.values()):
            return None
        winner = None
        if not all(enough.values()):
            winner = self._black if enough[cshogi.BLACK] else self._black.other
        return Outcome(termination=Termination.ENTERING_KING, winner=winner)

    def _history_of_position(self) -> list[tuple[str, bool]]:
        """Position (without move number) and check at every ply since the first with the present hash.

        A hash is a hint only. This takes the moves back and makes them again, which costs about two
        microseconds a ply and happens only at a position whose hash was there before.
        """
        board = self.cshogi
        first = self._keys.index(self._keys[-1])
        taken_back: list[int] = []
        history = [_position_and_check(board)]
        for _ in range(len(self._moves) - first):
            taken_back.append(board.pop())
            history.append(_position_and_check(board))
        for move in reversed(taken_back):
            board.push(move)
        history.reverse()
        return history

    @staticmethod
    def _occurrences(history: list[tuple[str, bool]]) -> list[int]:
        """Where in ``history`` its last position stands."""
        present = history[-1][0]
        return [index for index, (position, _) in enumerate(history) if position == present]


@lru_cache(maxsize=4096)
def _check_once(start_position: str) -> None:
    """Most games of a run begin in the same few positions."""
    check_position(start_position)


def _position_and_check(board: cshogi.Board) -> tuple[str, bool]:
    return board.sfen().rsplit(" ", 1)[0], bool(board.is_check())


def _in_enemy_camp(board: cshogi.Board, colour: int) -> bool:
    return _is_camp_square(board.king_square(colour), colour)


def _is_camp_square(square: int, colour: int) -> bool:
    """Whether a square is in the last three ranks for ``colour``; cshogi's squares are 9 * file + rank."""
    rank = square % 9
    return rank <= 2 if colour == cshogi.BLACK else rank >= 6


def _squares_of(board: cshogi.Board, colour: int) -> list[tuple[int, int]]:
    """Square and piece type of every piece of a colour."""
    return [
        (square, cshogi.piece_to_piece_type(piece))
        for square, piece in enumerate(board.pieces)
        if piece != cshogi.NONE and (piece >= cshogi.WPAWN) == (colour == cshogi.WHITE)
    ]


def _points(squares: list[tuple[int, int]], hand: list[int]) -> int:
    """Five for rooks and bishops in any form, one for the others, none for the king."""
    counted = [piece_type for _, piece_type in squares if piece_type != cshogi.KING]
    majors = sum(piece_type in _MAJOR_PIECES for piece_type in counted)
    majors += int(hand[cshogi.HBISHOP]) + int(hand[cshogi.HROOK])
    return len(counted) + sum(hand) + 4 * majors
