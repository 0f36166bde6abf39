"""A game while it is read from a notation, and what becomes of it: moves count only if they are legal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cshogi

from banzuke.errors import BanzukeError
from banzuke.games.shogi import START_POSITION, ShogiBoard, ShogiRules
from banzuke.outcome import Outcome, Side, Status, Termination
from storage.notation.walk import NO_END

if TYPE_CHECKING:
    from storage.notation.remark import Remark

LONGEST_NAME = 200
LONGEST_MS = 2**31 - 1
"""What a store keeps of a move."""
_PROVEN_ON_THE_BOARD = frozenset({Termination.CHECKMATE, Termination.NO_LEGAL_MOVES})


class NotationError(BanzukeError):
    """A text is no game in the notation it is meant to be in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGame:
    """One game as its notation has it."""

    black: str
    """Name of whoever plays Black (sente); empty where none is given."""
    white: str
    start_position: str
    """Four-field SFEN."""
    moves: tuple[str, ...]
    """USI."""
    times_ms: tuple[int, ...]
    """Per ply; in whole seconds where only the notation says so, 0 where it says nothing."""
    evals: tuple[int | None, ...] | None
    """The mover's own score per ply in centipawns; None where there is none at all."""
    outcome: Outcome
    rules: str
    event: str
    opening: str
    """What the game says of its opening; empty for nothing."""
    started_at: datetime | None
    """UTC, as far as the game says so; notations name no zone."""
    remark: Remark | None
    """What our own export says beyond the notation, where the notation bears it out."""

    @property
    def first_is_black(self) -> bool:
        """Whether Black has the move at the start position."""
        return self.start_position.split(" ")[1] == "b"


class Draft:
    """A game as far as it has been read."""

    def __init__(self) -> None:
        self.names = ["", ""]
        """Black's and White's."""
        self.event = ""
        self.opening = ""
        self.started_at: datetime | None = None
        self.remark: Remark | None = None
        self.times_ms: list[int] = []
        self.scores: dict[int, int] = {}
        """Black's, by ply."""
        self._board: ShogiBoard | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the start position is known."""
        return self._board is not None

    @property
    def board(self) -> ShogiBoard:
        """The position reached; the usual start position unless :meth:`begin` has said another."""
        return self._board or self.begin(START_POSITION, 1)

    def begin(self, sfen: str, line: int) -> ShogiBoard:
        """Set the start position.

        Raises:
            NotationError: there is no such position.
        """
        try:
            # Spelt as a store spells it, whatever the order in which pieces in hand were named.
            spelt = ShogiRules("csa").start(sfen, max_plies=NO_END).position()
            self._board = ShogiRules("csa").start(spelt, max_plies=NO_END)
        except ValueError as error:
            raise NotationError(f"line {line}: {error}") from error
        return self._board

    def push(self, native: int, line: int, shown: str) -> None:
        """Make a move.

        Args:
            native: cshogi's integer; 0 for what is no move at all.
            line: its number, for errors.
            shown: how it is written there.

        Raises:
            NotationError: it is not legal here.
        """
        board = self.board
        usi = cshogi.move_to_usi(native) if native else ""
        if not board.is_legal(usi):
            raise NotationError(f"line {line}: {shown[:40]!r} is no legal move in {board.position()}")
        board.push(usi)
        self.times_ms.append(0)

    def set_score(self, score: int) -> None:
        """Of the last move, Black's, in centipawns."""
        if self.times_ms:
            self.scores[len(self.times_ms) - 1] = score

    def set_time(self, ms: int) -> None:
        """Of the last move."""
        if self.times_ms:
            self.times_ms[-1] = min(ms, LONGEST_MS)

    def ended(self, outcome: Outcome) -> ReadGame:
        """The game.

        Args:
            outcome: as the notation has it; our own remark says it more exactly, and is believed where it can be true.
        """
        board, remark = self.board, self.remark
        times, rules, opening = tuple(self.times_ms), "csa", self.opening
        if remark is not None and not _is_borne_out(remark, outcome, board):
            remark = None
        if remark is not None:
            outcome = Outcome(
                termination=remark.termination, winner=remark.winner, fault=remark.fault, detail=remark.detail
            )
            times = remark.times_ms if len(remark.times_ms) == len(times) else times
            rules, opening = remark.rules, plain_name(remark.opening) or opening
        return ReadGame(
            black=self.names[0],
            white=self.names[1],
            start_position=board.start_position,
            moves=tuple(board.moves),
            times_ms=times,
            evals=self._evals(board) if self.scores else None,
            outcome=outcome,
            rules=rules,
            event=self.event,
            opening=opening,
            started_at=self.started_at,
            remark=remark,
        )

    def _evals(self, board: ShogiBoard) -> tuple[int | None, ...]:
        signs = (1, -1) if board.black is Side.FIRST else (-1, 1)
        return tuple(
            None if (score := self.scores.get(ply)) is None else signs[ply % 2] * score
            for ply in range(len(board.moves))
        )


def _is_borne_out(remark: Remark, outcome: Outcome, board: ShogiBoard) -> bool:
    """Whether a remark can be true of the game on the board that ended as the notation says."""
    by_rules = board.outcome()
    return (
        remark.winner is outcome.winner
        and remark.status is remark.termination.status
        and remark.opening_plies <= len(board.moves)
        and (remark.status is Status.VOID) is (outcome.status is Status.VOID)
        and (
            remark.termination not in _PROVEN_ON_THE_BOARD
            or (by_rules is not None and by_rules.termination is remark.termination)
        )
    )


def lost(loser: Side, board: ShogiBoard, otherwise: Termination) -> Outcome:
    """A loss that the notation puts down to ``otherwise``; where the rules had ended the game so, that says why."""
    return _by_rules(loser, board) or Outcome(termination=otherwise, winner=loser.other)


def lost_by_foul(loser: Side, board: ShogiBoard) -> Outcome:
    """A loss by breaking a rule; perpetual check is seen on the board."""
    return _by_rules(loser, board) or Outcome.forfeit(Termination.ILLEGAL_MOVE, loser, "it broke a rule")


def lost_on_time(loser: Side) -> Outcome:
    """A loss by the clock."""
    return Outcome.forfeit(Termination.TIME_FORFEIT, loser, "its time was up")


def unfinished(why: str) -> Outcome:
    """No result."""
    return Outcome.void(Termination.CANCELLED, None, why)


def ended_without_a_word(board: ShogiBoard) -> Outcome:
    """Of a game that just stops: the rules may have ended it all the same."""
    return board.outcome() or unfinished("the game does not say how it ended")


def _by_rules(loser: Side, board: ShogiBoard) -> Outcome | None:
    outcome = board.outcome()
    return outcome if outcome is not None and outcome.winner is loser.other else None


def moment(text: str) -> datetime | None:
    """A time of day as notations write it; None for what is none."""
    for form in ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d"):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def plain_name(text: str) -> str:
    """A name without what cannot be shown, and of bearable length."""
    return "".join(letter for letter in text.strip() if letter.isprintable())[:LONGEST_NAME]
