"""One game between two players: from the book's last move to an outcome that replays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banzuke.clock import Clock
from banzuke.errors import AgentError, AgentStallError
from banzuke.outcome import Outcome, Side, Termination
from banzuke.players.player import DECLARE_WIN, RESIGN, Choice, Player

if TYPE_CHECKING:
    from banzuke.games.rules import Board, Rules
    from banzuke.record import GameRecord, PlannedGame
    from banzuke.specs import SearchLimit


@dataclass(slots=True, kw_only=True)
class Score:
    """What was played so far: the growing part of a game's record."""

    times_ms: list[int] = field(default_factory=list)
    evals: list[int | None] = field(default_factory=list)

    def append(self, elapsed_ms: int, eval_cp: int | None) -> None:
        """Note one ply."""
        self.times_ms.append(elapsed_ms)
        self.evals.append(eval_cp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A player at the board, and its clock's setting."""

    player: Player
    limit: SearchLimit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameResult:
    """A finished attempt."""

    outcome: Outcome
    moves: tuple[str, ...]
    times_ms: tuple[int, ...]
    """Per ply, 0 for book moves; a forfeited or failed last move is not in it."""
    evals: tuple[int | None, ...] | None
    thinking_ms: tuple[int, int]
    """Sum for first and second."""
    longest_ms: tuple[int, int]
    """Longest move of first and second, a move that forfeited included."""


def play_game(
    planned: PlannedGame,
    *,
    rules: Rules,
    max_plies: int,
    first: Seat,
    second: Seat,
    move_seconds: float,
    game_deadline: float,
    ready_deadline: float,
    getting_ready: Callable[[Side, float], None],
    thinking: Callable[[Side, float], None],
    standing: Callable[[Board], None] = lambda _board: None,
) -> GameResult:
    """Play one game to its end.

    Args:
        planned: sides, opening and seed.
        rules: of the plan's game.
        max_plies: drawn after so many, book included.
        first: who moves first after ``start_position``.
        second: the other.
        move_seconds: hard limit of one move, on the wall.
        game_deadline: hard limit of the game, on the monotonic clock.
        ready_deadline: hard limit for both to be ready for a new game, likewise.
        getting_ready: called before a player is made ready, with its side and its absolute deadline.
        thinking: called before every move with the side to move and its absolute deadline.
        standing: called before that with the board, on nobody's clock but the game's.

    Returns:
        The result. An agent's fault is an outcome, never an exception.
    """
    board = rules.start(planned.start_position, max_plies=max_plies)
    for move in planned.opening_moves:
        board.push(move)
    table = _Table(board, {Side.FIRST: first, Side.SECOND: second}, len(planned.opening_moves))
    outcome = table.prepare(planned.seed, ready_deadline, getting_ready)
    while outcome is None:
        standing(board)
        outcome = table.play_ply(move_seconds, game_deadline, thinking)
    table.dismiss(outcome)
    return table.result(outcome)


def replay(record: GameRecord, rules: Rules, *, max_plies: int) -> Outcome:
    """The outcome that a record's moves prove, for invariant ``a_row_replays``.

    Endings that an agent chose or caused (resignation, a claim, a forfeit) are taken from the record after checking
    that the position allows them.

    Raises:
        ValueError: the row contradicts the rules: an illegal move, moves after the end, an ending that is not theirs.
    """
    board = rules.start(record.start_position, max_plies=max_plies)
    for ply, move in enumerate(record.moves):
        if ply >= record.opening_plies and (ended := board.outcome()):
            raise ValueError(f"{record.game_id}: goes on after {ended.termination} at ply {ply}")
        if not board.is_legal(move):
            raise ValueError(f"{record.game_id}: ply {ply + 1}, {_shown(move)}, is illegal")
        board.push(move)
    proven = board.outcome() or _allowed(record, board)
    if proven is None or (proven.termination, proven.winner, proven.fault) != (
        record.termination,
        record.winner,
        record.fault,
    ):
        raise ValueError(f"{record.game_id}: {record.termination} is not what the moves show")
    return proven


def _allowed(record: GameRecord, board: Board) -> Outcome | None:
    """The ending that a record tells of, where an agent may have chosen or caused it in this position."""
    mover = board.side_to_move
    if record.termination is Termination.RESIGNATION:
        return Outcome(termination=record.termination, winner=mover.other, detail=record.detail)
    if record.termination is Termination.ENTERING_KING and board.may_declare_win():
        return Outcome(termination=record.termination, winner=mover, detail=record.detail)
    false_claim = record.termination is Termination.FALSE_CLAIM and not board.may_declare_win()
    if false_claim or record.termination in {Termination.ILLEGAL_MOVE, Termination.TIME_FORFEIT}:
        return Outcome.forfeit(record.termination, mover, record.detail or "")
    return None


class _Table:
    """The board, the two seats and what is noted on the way."""

    def __init__(self, board: Board, seats: dict[Side, Seat], opening_plies: int) -> None:
        self.board = board
        self.seats = seats
        self.clocks = {side: Clock.start(seat.limit) for side, seat in seats.items()}
        self.score = Score(times_ms=[0] * opening_plies, evals=[None] * opening_plies)
        self.thinking_ms = {Side.FIRST: 0, Side.SECOND: 0}
        self.longest_ms = {Side.FIRST: 0, Side.SECOND: 0}

    def prepare(self, seed: int, ready_deadline: float, getting_ready: Callable[[Side, float], None]) -> Outcome | None:
        """Seat both players; an outcome where one could not be made ready or the book already ended the game."""
        for side, seat in self.seats.items():
            getting_ready(side, ready_deadline)
            try:
                seat.player.new_game(side=side, seed=seed, deadline=ready_deadline)
            except AgentError as error:
                return Outcome.void(Termination.AGENT_START, side, str(error))
        return self.board.outcome()

    def play_ply(
        self, move_seconds: float, game_deadline: float, thinking: Callable[[Side, float], None]
    ) -> Outcome | None:
        """Ask for one move and judge it; the outcome if it ended the game."""
        side = self.board.side_to_move
        if not self.seats[side].player.claims_wins and self.board.may_declare_win():
            return Outcome(termination=Termination.ENTERING_KING, winner=side)
        started = time.monotonic()
        if started >= game_deadline:
            return self._timed_out({})
        deadline = min(started + move_seconds, game_deadline)
        thinking(side, deadline)
        try:
            choice = self._ask(side, deadline)
        except AgentStallError as error:
            if deadline == game_deadline:
                return self._timed_out({side: time.monotonic() - started}, f"; {error}")
            return Outcome.void(Termination.AGENT_STALL, side, str(error))
        except AgentError as error:
            return Outcome.void(Termination.AGENT_CRASH, side, str(error))
        elapsed_ms = choice.elapsed_ms
        if elapsed_ms is None:
            elapsed_ms = round((time.monotonic() - started) * 1000)
        return self._judge(side, choice, elapsed_ms)

    def _timed_out(self, waited: dict[Side, float], reason: str = "") -> Outcome:
        """Nobody's fault: whose turn it was when the game's time ran out is chance."""
        first, second = (self.thinking_ms[side] / 1000 + waited.get(side, 0.0) for side in Side)
        used = f"first used {first:.1f} s, second {second:.1f} s"
        return Outcome.void(Termination.GAME_TIMEOUT, None, f"the game passed game_seconds: {used}{reason}")

    def _ask(self, side: Side, deadline: float) -> Choice:
        return self.seats[side].player.choose(
            self.board, clock=self.clocks[side], opponent_clock=self.clocks[side.other], deadline=deadline
        )

    def _judge(self, side: Side, choice: Choice, elapsed_ms: int) -> Outcome | None:
        self.thinking_ms[side] += elapsed_ms
        self.longest_ms[side] = max(self.longest_ms[side], elapsed_ms)
        allowed = self.clocks[side].allowed_ms
        if not self.clocks[side].charge(elapsed_ms):
            return Outcome.forfeit(
                Termination.TIME_FORFEIT, side, f"used {elapsed_ms} ms of the {allowed} ms its clock allowed"
            )
        if choice.move == RESIGN:
            return Outcome(termination=Termination.RESIGNATION, winner=side.other)
        if choice.move == DECLARE_WIN:
            if self.board.may_declare_win():
                return Outcome(termination=Termination.ENTERING_KING, winner=side)
            return Outcome.forfeit(
                Termination.FALSE_CLAIM, side, "claimed an entering-king win that the position does not give"
            )
        if not self.board.is_legal(choice.move):
            return Outcome.forfeit(Termination.ILLEGAL_MOVE, side, f"answered {_shown(choice.move)}, not a legal move")
        self.board.push(choice.move)
        self.score.append(elapsed_ms, choice.eval_cp)
        return self.board.outcome()

    def dismiss(self, outcome: Outcome) -> None:
        """Tell the players how it ended."""
        for seat in self.seats.values():
            seat.player.game_over(outcome.winner)

    def result(self, outcome: Outcome) -> GameResult:
        """What is kept of it."""
        any_eval = any(value is not None for value in self.score.evals)
        return GameResult(
            outcome=outcome,
            moves=tuple(self.board.moves),
            times_ms=tuple(self.score.times_ms),
            evals=tuple(self.score.evals) if any_eval else None,
            thinking_ms=(self.thinking_ms[Side.FIRST], self.thinking_ms[Side.SECOND]),
            longest_ms=(self.longest_ms[Side.FIRST], self.longest_ms[Side.SECOND]),
        )


def _shown(answer: str) -> str:
    text = repr(answer)
    return text if len(text) <= 60 else text[:57] + "..."
