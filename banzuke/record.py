"""What is planned and what is kept: the rows of the ``plans`` and ``games`` datasets as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from banzuke.outcome import Side, Status, Termination

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGame:
    """One planned game. Sides, opening and seed are fixed here, before anything is played."""

    run_id: str
    game_id: str
    """Unique in the store, the same for every attempt."""
    pair_id: str
    game_no: int
    pair_no: int
    encounter: str
    """``"<agent>--<agent>"``, names sorted."""
    round: int
    """The pair's index in its encounter."""
    slot: int
    """0 or 1 within the pair."""
    game: str
    rules: str
    first_agent: str
    second_agent: str
    first_agent_id: str
    second_agent_id: str
    opening_id: str
    start_position: str
    """Four-field SFEN, no prefix."""
    opening_plies: int
    seed: int
    opening_moves: tuple[str, ...]
    """The book's moves from ``start_position``; ``opening_plies`` of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRecord:
    """One attempt at a planned game: one row of ``games``, in the order of its columns."""

    run_id: str
    game_id: str
    pair_id: str
    game_no: int
    pair_no: int
    encounter: str
    round: int
    slot: int
    attempt: int
    """From 1."""
    attempt_id: str
    game: str
    rules: str
    first_agent: str
    second_agent: str
    first_agent_id: str
    second_agent_id: str
    opening_id: str
    start_position: str
    opening_plies: int
    seed: int
    status: Status
    termination: Termination
    winner: Side | None
    fault: Side | None
    detail: str | None
    plies: int
    moves: tuple[str, ...]
    """USI, from ``start_position``, the book's moves included."""
    move_times_ms: tuple[int, ...]
    """Wall time per ply, 0 for book moves."""
    evals: tuple[int | None, ...] | None
    """The mover's own score in centipawns per ply; None where it reports none."""
    first_time_ms: int
    second_time_ms: int
    first_max_move_ms: int
    second_max_move_ms: int
    started_at: datetime
    """UTC."""
    finished_at: datetime
    """UTC."""
    host: str
    device: str
    worker_pid: int
    flow_run_id: str | None
    task_run_id: str | None
    banzuke_version: str
    schema_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One agent of a run: one row of ``agents``."""

    run_id: str
    agent: str
    agent_id: str
    """Content hash of what decides its moves."""
    kind: str
    fit: bool | None
    """None before evaluate has looked at it."""
    reason: str | None
    sha256: str | None
    """Of the checkpoint's file or the engine's program; None for built-in agents."""
    epoch: int | None
    step: int | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One position put to one agent: one row of ``evaluations``."""

    run_id: str
    agent: str
    agent_id: str
    probe: str
    """``open`` and ``legal-move`` decide about fitness; ``suite`` is a score."""
    position_id: str
    position: str
    """SFEN, or empty for the probe of opening."""
    expected: str | None
    """Space-separated right answers; None where any legal move will do."""
    answer: str | None
    passed: bool
    status: str
    """``ok``, ``timeout`` or ``error``."""
    time_ms: int
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of ``standings``. Numbers are finite or None."""

    run_id: str
    rank: int
    agent: str
    agent_id: str
    elo: float | None
    elo_low: float | None
    """Lower end of the 95 % interval of the difference to the anchor, on the anchored scale."""
    elo_high: float | None
    games: int
    wins: int
    draws: int
    losses: int
    score: float | None
    """Points per game, 0 to 1."""
    forfeits: int
    """Games it lost by forfeit."""
    voids: int
    """Void attempts it was at fault for."""
    los_next: float | None
    """Chance of being stronger than the next below, 0 to 1."""
    rated: bool
    reason: str | None
    computed_at: datetime
    """UTC."""
