"""How a game, or an attempt at one, ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Who has the move at the start position, and who answers. Colours belong to ``games/``."""

    FIRST = "first"
    SECOND = "second"

    @property
    def other(self) -> Side:
        """The opponent's side."""
        return Side.SECOND if self is Side.FIRST else Side.FIRST


class Status(StrEnum):
    """Whether an attempt has a result, and whose doing it was."""

    PLAYED = "played"
    """Ended by the rules of the game or by adjudication. Counts."""
    FORFEIT = "forfeit"
    """Lost by the agent's own play: its clock, an illegal move, a false claim. Counts."""
    VOID = "void"
    """No result. Never counts; is backfilled."""


class Termination(StrEnum):
    """Why an attempt ended, in one word."""

    CHECKMATE = "checkmate"
    NO_LEGAL_MOVES = "no_legal_moves"
    REPETITION = "repetition"
    PERPETUAL_CHECK = "perpetual_check"
    ENTERING_KING = "entering_king"
    RESIGNATION = "resignation"
    MAX_PLIES = "max_plies"
    ADJUDICATED_WIN = "adjudicated_win"
    ADJUDICATED_DRAW = "adjudicated_draw"

    TIME_FORFEIT = "time_forfeit"
    ILLEGAL_MOVE = "illegal_move"
    FALSE_CLAIM = "false_claim"

    AGENT_CRASH = "agent_crash"
    AGENT_STALL = "agent_stall"
    AGENT_START = "agent_start"
    WORKER_CRASH = "worker_crash"
    MEMORY_LIMIT = "memory_limit"
    GAME_TIMEOUT = "game_timeout"
    BATCH_TIMEOUT = "batch_timeout"
    CANCELLED = "cancelled"

    @property
    def status(self) -> Status:
        """The one status this termination can have."""
        if self in FORFEITS:
            return Status.FORFEIT
        return Status.VOID if self in VOIDS else Status.PLAYED


FORFEITS = frozenset({Termination.TIME_FORFEIT, Termination.ILLEGAL_MOVE, Termination.FALSE_CLAIM})

VOIDS = frozenset(
    {
        Termination.AGENT_CRASH,
        Termination.AGENT_STALL,
        Termination.AGENT_START,
        Termination.WORKER_CRASH,
        Termination.MEMORY_LIMIT,
        Termination.GAME_TIMEOUT,
        Termination.BATCH_TIMEOUT,
        Termination.CANCELLED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A termination, who won, whose fault it was, and one line for people."""

    termination: Termination
    winner: Side | None = None
    """None for a draw and for a void attempt."""
    fault: Side | None = None
    """The side whose agent caused a forfeit or a void, where one did."""
    detail: str | None = None

    @property
    def status(self) -> Status:
        """Derived from the termination."""
        return self.termination.status

    @classmethod
    def forfeit(cls, termination: Termination, loser: Side, detail: str) -> Outcome:
        """A loss by the agent's own play."""
        return cls(termination=termination, winner=loser.other, fault=loser, detail=detail)

    @classmethod
    def void(cls, termination: Termination, fault: Side | None, detail: str) -> Outcome:
        """No result."""
        return cls(termination=termination, fault=fault, detail=detail)
