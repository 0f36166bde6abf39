"""From a planned game and what became of it to the row that is kept."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from banzuke import __version__
from banzuke.record import SCHEMA_VERSION, GameRecord, PlannedGame

if TYPE_CHECKING:
    from banzuke.match.game import GameResult
    from banzuke.outcome import Outcome

_SHARED = tuple(field.name for field in fields(PlannedGame) if field.name != "opening_moves")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a planned game."""

    planned: PlannedGame
    number: int
    """From 1, counted over all invocations."""
    attempt_id: str

    @classmethod
    def at(cls, planned: PlannedGame, number: int) -> Attempt:
        """A try with an id of its own; two invocations that race for a game get two ids."""
        suffix = uuid.uuid4().hex[:12]
        return cls(planned=planned, number=number, attempt_id=f"{planned.game_id}--a{number}-{suffix}")


def record_of(attempt: Attempt, result: GameResult, *, started_at: datetime, device: str) -> GameRecord:
    """The row of an attempt that reached an outcome in this process."""
    return _record(
        attempt,
        result.outcome,
        started_at=started_at,
        worker_pid=os.getpid(),
        moves=result.moves,
        move_times_ms=result.times_ms,
        evals=result.evals,
        first_time_ms=result.thinking_ms[0],
        second_time_ms=result.thinking_ms[1],
        first_max_move_ms=result.longest_ms[0],
        second_max_move_ms=result.longest_ms[1],
        device=device,
    )


def void_record(attempt: Attempt, outcome: Outcome, *, started_at: datetime, worker_pid: int) -> GameRecord:
    """The row of an attempt whose worker is gone: what it had played is not known beyond the book."""
    book = attempt.planned.opening_moves
    return _record(
        attempt,
        outcome,
        started_at=started_at,
        worker_pid=worker_pid,
        moves=book,
        move_times_ms=(0,) * len(book),
        evals=None,
        first_time_ms=0,
        second_time_ms=0,
        first_max_move_ms=0,
        second_max_move_ms=0,
        device="unknown",
    )


def _record(attempt: Attempt, outcome: Outcome, *, moves: tuple[str, ...], **rest: Any) -> GameRecord:  # noqa: ANN401 - passed on to the typed constructor
    shared = {name: getattr(attempt.planned, name) for name in _SHARED}
    return GameRecord(
        **shared,
        attempt=attempt.number,
        attempt_id=attempt.attempt_id,
        status=outcome.status,
        termination=outcome.termination,
        winner=outcome.winner,
        fault=outcome.fault,
        detail=outcome.detail,
        plies=len(moves),
        moves=moves,
        finished_at=datetime.now(UTC),
        host=socket.gethostname(),
        flow_run_id=None,
        task_run_id=None,
        banzuke_version=__version__,
        schema_version=SCHEMA_VERSION,
        **rest,
    )
