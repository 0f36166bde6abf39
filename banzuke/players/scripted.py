"""The built-in players, random and alpha-beta on material: cheap, deterministic opponents without files."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import cshogi

from banzuke.errors import AgentStallError
from banzuke.games.shogi import ShogiBoard
from banzuke.players.player import RESIGN, Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from banzuke.clock import Clock
    from banzuke.games.rules import Board
    from banzuke.outcome import Side

MATE_CP = 30_000
"""The score of a mate on the board; a mate in n plies scores n less, a coming loss the negative."""

# Indexed by cshogi's piece types: none, P L N S B R G K, then the promoted P L N S B R.
_VALUES = (0, 100, 300, 400, 500, 800, 1000, 600, 0, 700, 600, 600, 600, 1000, 1200, 0)
_UNPROMOTED = (0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 0)
_HAND_VALUES = (100, 300, 400, 500, 600, 800, 1000)
# What taking a piece gains: its owner loses what it was worth there, the taker holds it unpromoted.
_CAPTURE_GAINS = tuple(_VALUES[piece] + _VALUES[_UNPROMOTED[piece]] for piece in range(16))
_PROMOTION_GAINS = tuple(_VALUES[piece + 8] - _VALUES[piece] if 1 <= piece <= 6 else 0 for piece in range(16))

# cshogi packs a move into one integer: destination, origin, promotion, moving piece, captured piece.
_DESTINATION = 0x7F
_PROMOTION = 0x4000
_CHANGES_MATERIAL = 0xF00000 | _PROMOTION

_INFINITY = 1_000_000


class _ScriptedPlayer:
    """What the built-in players have in common: seeded randomness, and nothing to open or close."""

    claims_wins = False
    device = "cpu"

    def __init__(self) -> None:
        self._random = random.Random(0)  # noqa: S311 - games, not secrets

    def new_game(self, *, side: Side, seed: int, deadline: float) -> None:  # noqa: ARG002 - ready at once
        """Seed the game's randomness: from ``seed`` and ``side``, as both players are given the same seed."""
        self._random = random.Random(f"{seed} {side}")  # noqa: S311 - games, not secrets

    def _index_below(self, count: int) -> int:
        """A uniform index. ``random()`` is the one method whose numbers Python promises never to change."""
        return int(self._random.random() * count)

    def game_over(self, winner: Side | None) -> None:
        """Nothing to note."""

    def close(self) -> None:
        """Nothing to let go of."""


class RandomPlayer(_ScriptedPlayer):
    """Plays each legal move with the same probability."""

    def choose(
        self,
        board: Board,
        *,
        clock: Clock,  # noqa: ARG002 - it takes microseconds
        opponent_clock: Clock,  # noqa: ARG002 - likewise
        deadline: float,  # noqa: ARG002 - likewise
    ) -> Choice:
        """A random legal move; ``resign`` where there is none."""
        moves = board.legal_moves()
        return Choice(move=moves[self._index_below(len(moves))] if moves else RESIGN)

    def choose_native(
        self,
        board: ShogiBoard,  # noqa: ARG002 - it does not look
        moves: Sequence[int],
        *,
        deadline: float,  # noqa: ARG002 - it takes less than a microsecond
    ) -> tuple[int, int | None]:
        """As :meth:`choose`, among the legal moves that the caller has at hand; no score."""
        return moves[int(self._random.random() * len(moves))], None


class MaterialPlayer(_ScriptedPlayer):
    """Fixed-depth alpha-beta that knows material and mate and nothing else.

    It looks at every line of ``depth`` plies, then lets exchanges on the last move's square run out, and
    picks one of the best moves with the game's own seed. It finds every mate that fits into its depth and
    does not see repetitions. Values are those common for shogi: pawn 100, lance 300, knight 400, silver
    500, gold 600, bishop 800, rook 1000, promoted 600 to 1200, the same in hand.

    Args:
        depth: plies, 1 to 3.

    Raises:
        ValueError: another depth.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        if not 1 <= depth <= 3:
            raise ValueError(f"depth {depth} is not from 1 to 3")
        self.depth = depth

    def choose(
        self,
        board: Board,
        *,
        clock: Clock,  # noqa: ARG002 - its depth is its only limit, so that its moves never depend on time
        opponent_clock: Clock,  # noqa: ARG002 - likewise
        deadline: float,
    ) -> Choice:
        """One of the best moves, with its score; ``resign`` where there is no move.

        Raises:
            AgentStallError: the search was not done by the deadline.
            TypeError: the board is not one of shogi.
        """
        if not isinstance(board, ShogiBoard):
            raise TypeError(f"MaterialPlayer plays shogi only, not on {type(board).__name__}")
        moves = list(board.cshogi.legal_moves)
        if not moves:
            return Choice(move=RESIGN)
        move, score = self.choose_native(board, moves, deadline=deadline)
        return Choice(move=cshogi.move_to_usi(move), eval_cp=score)

    def choose_native(
        self,
        board: ShogiBoard,
        moves: Sequence[int],  # noqa: ARG002 - it generates them anyway
        *,
        deadline: float,
    ) -> tuple[int, int | None]:
        """As :meth:`choose`, in cshogi's integers, where there is a legal move.

        Raises:
            AgentStallError: the search was not done by the deadline.
        """
        best_moves, score = _Search(board.cshogi, deadline).best_moves(self.depth)
        return best_moves[self._index_below(len(best_moves))], score


class _Search:
    """One alpha-beta search (fail-hard negamax). Scores are in centipawns for whoever is to move.

    The board is pushed and popped, and is as it was afterwards, also after an exception.
    """

    def __init__(self, board: cshogi.Board, deadline: float) -> None:
        self.board = board
        self.deadline = deadline

    def best_moves(self, depth: int) -> tuple[list[int], int]:
        """Every move that reaches the best score, in the order of generation, and that score."""
        board = self.board
        material = _material(board)
        moves = list(board.legal_moves)
        best: list[int] = []
        best_score = -_INFINITY
        for move in sorted(moves, key=_gain, reverse=True):
            # One below the best, so that a move just as good still gets its exact score.
            score = self._score_of(move, depth, best_score - 1, _INFINITY, material, ply=0)
            if score > best_score:
                best, best_score = [move], score
            elif score == best_score:
                best.append(move)
        return [move for move in moves if move in best], best_score

    def _score_of(self, move: int, depth: int, alpha: int, beta: int, material: int, *, ply: int) -> int:
        """What ``move`` is worth to whoever makes it, ``depth`` plies deep, itself included."""
        if depth > 1 and time.monotonic() > self.deadline:
            raise AgentStallError("the built-in search passed the move's deadline")
        board = self.board
        material_after = -material - _gain(move)
        board.push(move)
        try:
            if depth == 1:
                return -self._exchange(move & _DESTINATION, material_after, ply + 1)
            if depth == 2:
                return -self._last_ply(-beta, -alpha, material_after, ply + 1)
            return -self._full_width(depth - 1, -beta, -alpha, material_after, ply + 1)
        finally:
            board.pop()

    def _full_width(self, depth: int, alpha: int, beta: int, material: int, ply: int) -> int:
        moves = list(self.board.legal_moves)
        if not moves:
            return ply - MATE_CP
        highest = alpha
        for move in sorted(moves, key=_gain, reverse=True):
            highest = max(highest, self._score_of(move, depth, highest, beta, material, ply=ply))
            if highest >= beta:
                break
        return highest

    def _last_ply(self, alpha: int, beta: int, material: int, ply: int) -> int:
        """The best of the moves after which only exchanges are looked at.

        No such move is worth more than what it takes and promotes, unless it mates. So mates come first, then
        moves by that gain, until the gain left is too small to matter.
        """
        board = self.board
        moves = list(board.legal_moves)
        if not moves:
            return ply - MATE_CP
        if self._mates():
            return MATE_CP - ply - 1
        highest = alpha
        loud = sorted([move for move in moves if move & _CHANGES_MATERIAL], key=_gain, reverse=True)
        for move in loud:
            if highest >= beta or material + _gain(move) <= highest:
                break
            highest = max(highest, self._score_of(move, 1, highest, beta, material, ply=ply))
        for move in moves:
            if highest >= beta or material <= highest:
                break
            if not move & _CHANGES_MATERIAL:
                highest = max(highest, self._score_of(move, 1, highest, beta, material, ply=ply))
        return highest

    def _mates(self) -> bool:
        """Whether some move mates at once."""
        board = self.board
        for move in board.check_moves:
            board.push(move)
            mated = board.is_game_over()
            board.pop()
            if mated:
                return True
        return False

    def _exchange(self, square: int, material: int, ply: int) -> int:
        """The score after the exchanges on ``square`` that each side in turn likes to go on with.

        The least valuable piece takes first, as in static exchange evaluation; legality is the real one.
        """
        board = self.board
        moves = list(board.legal_moves)
        if not moves:
            return ply - MATE_CP
        recaptures = [move for move in moves if move & _DESTINATION == square]
        if not recaptures:
            return material
        move = min(recaptures, key=_attacker_value)
        board.push(move)
        try:
            return max(material, -self._exchange(square, -material - _gain(move), ply + 1))
        finally:
            board.pop()


def _gain(move: int) -> int:
    """By how much a move changes the material balance, by what it takes and by promoting."""
    gain = _CAPTURE_GAINS[(move >> 20) & 0xF]
    if move & _PROMOTION:
        gain += _PROMOTION_GAINS[(move >> 16) & 0xF]
    return gain


def _attacker_value(move: int) -> tuple[int, int]:
    """Sorts by the piece that moves, promotion before none."""
    return _VALUES[(move >> 16) & 0xF], -(move & _PROMOTION)


def _material(board: cshogi.Board) -> int:
    """The balance for the side to move."""
    black, white = board.pieces_in_hand
    balance = sum((ours - theirs) * value for ours, theirs, value in zip(black, white, _HAND_VALUES, strict=True))
    for piece in board.pieces:
        balance += _VALUES[piece] if piece < 16 else -_VALUES[piece - 16]
    return int(balance) if board.turn == cshogi.BLACK else -int(balance)
