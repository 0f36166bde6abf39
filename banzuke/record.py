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
    """Which run; also the name of the folder that the file is in."""
    game_id: str
    """Unique in the store, the same for every attempt."""
    pair_id: str
    """Unique in the store: the two games with the same opening, sides swapped."""
    game_no: int
    """Number of the game in its run, from 0."""
    pair_no: int
    """Number of the pair in its run, from 0."""
    encounter: str
    """``"<agent>--<agent>"``, names sorted."""
    round: int
    """The pair's index in its encounter."""
    slot: int
    """0 or 1 within the pair."""
    game: str
    """``shogi``."""
    rules: str
    """``csa`` or ``keisei``."""
    first_agent: str
    """Name of the agent that has the move at ``start_position``."""
    second_agent: str
    """Name of the other one."""
    first_agent_id: str
    """Content hash of the first agent: the same agent in every run, whatever it is called."""
    second_agent_id: str
    """Content hash of the second agent."""
    opening_id: str
    """Which line of the opening book."""
    start_position: str
    """Four-field SFEN, no prefix."""
    opening_plies: int
    """How many of the moves came from the book."""
    seed: int
    """What both players were given for their random choices."""
    opening_moves: tuple[str, ...]
    """The book's moves from ``start_position``; ``opening_plies`` of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameRecord:
    """One attempt at a planned game: one row of ``games``, in the order of its columns."""

    run_id: str
    """Which run; also the name of the folder that the file is in."""
    game_id: str
    """Unique in the store, the same for every attempt."""
    pair_id: str
    """Unique in the store: the two games with the same opening, sides swapped."""
    game_no: int
    """Number of the game in its run, from 0."""
    pair_no: int
    """Number of the pair in its run, from 0."""
    encounter: str
    """``"<agent>--<agent>"``, names sorted."""
    round: int
    """The pair's index in its encounter."""
    slot: int
    """0 or 1 within the pair."""
    attempt: int
    """From 1."""
    attempt_id: str
    """Unique in the store."""
    game: str
    """``shogi``."""
    rules: str
    """``csa`` or ``keisei``."""
    first_agent: str
    """Name of the agent that has the move at ``start_position``."""
    second_agent: str
    """Name of the other one."""
    first_agent_id: str
    """Content hash of the first agent: the same agent in every run, whatever it is called."""
    second_agent_id: str
    """Content hash of the second agent."""
    opening_id: str
    """Which line of the opening book."""
    start_position: str
    """Four-field SFEN, no prefix."""
    opening_plies: int
    """How many of the moves came from the book."""
    seed: int
    """What both players were given for their random choices."""
    status: Status
    """``played``, ``forfeit`` or ``void``; void attempts count for nothing."""
    termination: Termination
    """Why it ended, in one word."""
    winner: Side | None
    """``first`` or ``second``; null for a draw and for a void attempt."""
    fault: Side | None
    """The side whose agent caused a forfeit or a void: ``first``, ``second`` or null."""
    detail: str | None
    """One line a person can act on: exit code, signal, last words; null where there is nothing to say."""
    plies: int
    """How many moves were made, those of the book included."""
    moves: tuple[str, ...]
    """USI, from ``start_position``, the book's moves included."""
    move_times_ms: tuple[int, ...]
    """Wall time per ply, 0 for book moves."""
    evals: tuple[int | None, ...] | None
    """The mover's own score in centipawns per ply; None where it reports none."""
    first_time_ms: int
    """The first agent's thinking time, summed."""
    second_time_ms: int
    """The second agent's thinking time, summed."""
    first_max_move_ms: int
    """The first agent's longest move."""
    second_max_move_ms: int
    """The second agent's longest move."""
    started_at: datetime
    """UTC."""
    finished_at: datetime
    """UTC."""
    host: str
    """The machine that played it."""
    device: str
    """What its networks ran on; ``cpu`` where there were none, ``imported`` of imported games."""
    worker_pid: int
    """Process that played it."""
    flow_run_id: str | None
    """Prefect's id of the flow run; null outside Prefect."""
    task_run_id: str | None
    """Prefect's id of the task run; null outside Prefect."""
    banzuke_version: str
    """What wrote the row."""
    schema_version: int
    """Of the columns; greater where a later version has added some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One agent of a run: one row of ``agents``."""

    run_id: str
    """Which run."""
    agent: str
    """Its name in the run."""
    agent_id: str
    """Content hash of what decides its moves."""
    kind: str
    """``random``, ``material``, ``usi``, ``checkpoint`` or ``external``."""
    fit: bool | None
    """None before evaluate has looked at it."""
    reason: str | None
    """Why it is not fit; null if it is."""
    sha256: str | None
    """Of the checkpoint's file or the engine's program; None for built-in agents."""
    epoch: int | None
    """Of training, where the checkpoint or its name says so."""
    step: int | None
    """Of training, likewise."""
    description: str | None
    """What the checkpoint says of itself, or what an imported player is called in its games."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One position put to one agent: one row of ``evaluations``."""

    run_id: str
    """Which run."""
    agent: str
    """Its name in the run."""
    agent_id: str
    """Its content hash."""
    probe: str
    """``open`` and ``legal-move`` decide about fitness; ``suite`` is a score."""
    position_id: str
    """Of the suite, or of the probe's position."""
    position: str
    """SFEN, or empty for the probe of opening."""
    expected: str | None
    """Space-separated right answers; None where any legal move will do."""
    answer: str | None
    """What it answered; null for nothing."""
    passed: bool
    """Whether that was right, or legal where any move will do."""
    status: str
    """``ok``, ``timeout`` or ``error``."""
    time_ms: int
    """How long it took."""
    detail: str | None
    """What went wrong, in one line; null for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of ``standings``. Numbers are finite or None."""

    run_id: str
    """Which run."""
    rank: int
    """From 1, best first."""
    agent: str
    """Its name in the run."""
    agent_id: str
    """Its content hash."""
    elo: float | None
    """Rating on the anchored scale; null where it has none."""
    elo_low: float | None
    """Lower end of the 95 % interval of the difference to the anchor, on the anchored scale."""
    elo_high: float | None
    """Upper end of it."""
    games: int
    """Counting games."""
    wins: int
    """Of them won."""
    draws: int
    """Of them drawn."""
    losses: int
    """Of them lost."""
    score: float | None
    """Points per game, 0 to 1."""
    forfeits: int
    """Games it lost by forfeit."""
    voids: int
    """Void attempts it was at fault for."""
    los_next: float | None
    """Chance of being stronger than the next below, 0 to 1."""
    rated: bool
    """Whether it has a rating."""
    reason: str | None
    """Why it has none; null if it has."""
    computed_at: datetime
    """UTC."""
