"""The unit of playing: one task run is one batch of whole pairs, played on one supervised worker.

A single game is too small to be a task run (its bookkeeping would cost more than the game) and a tournament too large
(a crash would lose too much). Every finished game is recorded within a second of its end. After any crash the games
recorded are exactly those whose files exist; running the same batch again plays only the rest.

Not guaranteed: a game interrupted in its middle is played again from its start, with the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from prefect import task
from prefect.runtime import flow_run, task_run

from banzuke.outcome import Status
from banzuke.progress import announce_problem, announce_records, announce_skipped
from banzuke.record import GameRecord, PlannedGame
from banzuke.settings import settings
from banzuke.specs import Spec
from banzuke.workers.batch import play_batch, play_together
from banzuke.workers.breaker import CircuitBreaker
from banzuke.workers.pool import WorkerPool, current_pool, is_stopping
from banzuke.workers.referee import Referee
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.leases import NoLimitError
from tasks.policies import MACHINERY
from tasks.runs import parse_spec
from tasks.slots import hall_slots, table_slot

RECORD_SECONDS = 0.4
"""A finished game waits no longer than this for others to share its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What became of a batch. The games themselves are in the store."""

    games: int
    counting: int
    forfeits: int
    voids: int
    """Void attempts, those that were played again included."""
    put_off: int
    """Games that were not played, or not once more, because one of their agents was put off or a verdict was there."""
    no_limit: str = ""
    """Why no game was begun any more: a limit that this machine keeps was deleted."""


@task(name="play-batch", task_run_name="batch {number} of {count} of {run_id}", **MACHINERY)
def play_games(
    spec_json: str, store: str, run_id: str, number: int, count: int, game_ids: Sequence[str]
) -> BatchReport:
    """Play those of the given games that have no counting result, and record each as it ends.

    Raises:
        WorkerError: no worker could be started; the task is retried.
        StorageError: a game could not be recorded; the task is retried.
    """
    if is_stopping():
        return BatchReport(games=0, counting=0, forfeits=0, voids=0, put_off=0)
    spec = parse_spec(spec_json)
    games = GameStore(store)
    ledger = Ledger(games, run_id)
    missing = set(ledger.missing_ids())
    planned = {game.game_id: game for game in ledger.plan}
    # As evaluate saw them: a file that is overwritten while the run goes on is not what the workers have opened.
    identities = {row.agent: row.agent_id for row in games.read_agents(run_id)}
    # In the order asked for, which is not the plan's where networks would have to be loaded too often.
    todo = [_with_present_ids(planned[game_id], identities) for game_id in game_ids if game_id in missing]
    pool = current_pool()
    referee = pool.referee(run_id)
    if referee is not None:
        referee.look_at(ledger.half_points(referee.agent))
    recorder = Recorder(games, run_id, on_recorded=None if referee is None else referee.note)
    gate = _Gate(pool.breaker(run_id, spec.limits.put_off_after), referee)
    terms = _Terms(attempts_before=ledger.attempts(), on_tick=recorder.flush_if_due, put_off=gate.keeps_out)
    no_limit = ""
    try:
        for record in _attempts(todo, spec, pool, terms):
            recorder.add(record)
            gate.note(record)
    except NoLimitError as error:
        # One line says it; a task that fails says it with a traceback, for every batch.
        no_limit = str(error)
    finally:
        recorder.flush()
    return BatchReport(
        games=len(todo),
        counting=recorder.counts[Status.PLAYED] + recorder.counts[Status.FORFEIT],
        forfeits=recorder.counts[Status.FORFEIT],
        voids=recorder.counts[Status.VOID],
        put_off=gate.kept_out,
        no_limit=no_limit,
    )


class _Terms(TypedDict):
    """What both ways of playing a batch are told."""

    attempts_before: Mapping[str, int]
    on_tick: Callable[[], None]
    put_off: Callable[[PlannedGame], bool]


def _attempts(todo: Sequence[PlannedGame], spec: Spec, pool: WorkerPool, terms: _Terms) -> Iterator[GameRecord]:
    at_tables: list[PlannedGame] = []
    in_hall: list[PlannedGame] = []
    for game in todo:
        (at_tables if spec.needs_table((game.first_agent, game.second_agent)) else in_hall).append(game)
    if in_hall:
        with hall_slots() as are_held:
            if are_held:
                yield from play_together(in_hall, spec, pool.hall, **terms)
    if at_tables:
        players = {name for game in at_tables for name in (game.first_agent, game.second_agent)}
        networks = any(spec.agent(name).kind == "checkpoint" for name in players)
        with table_slot(networks=networks) as is_held:
            if is_held:
                with pool.lease() as supervisor:
                    yield from play_batch(at_tables, spec, supervisor, **terms)


class _Gate:
    """Who may keep a game from being played: the run's circuit breaker, and the referee where it is a test."""

    def __init__(self, breaker: CircuitBreaker, referee: Referee | None) -> None:
        self.breaker = breaker
        self.referee = referee
        self.kept_out = 0
        self._tried: set[str] = set()

    def keeps_out(self, game: PlannedGame) -> bool:
        """Whether the game is to be left for another invocation, or for good."""
        if self.referee is not None and self.referee.spares(game):
            self.kept_out += 1
            return True
        agent = self.breaker.in_the_way_of(game)
        if agent is None:
            return False
        self.kept_out += 1
        if game.game_id not in self._tried:
            announce_skipped(game.game_id, f"put off with {agent}")
        return True

    def note(self, record: GameRecord) -> None:
        """Take in how an attempt ended."""
        self._tried.add(record.game_id)
        news = self.breaker.note(record)
        if news is not None:
            agent, reason = news
            announce_problem(f"put off: {agent}: {reason}")


class Recorder:
    """Gathers finished games for a moment, so that fast games share a file."""

    def __init__(
        self,
        store: GameStore,
        run_id: str,
        *,
        on_recorded: Callable[[Sequence[GameRecord]], None] | None = None,
    ) -> None:
        self.store = store
        self.run_id = run_id
        self.on_recorded = on_recorded
        self.counts = dict.fromkeys(Status, 0)
        self._host = settings().host
        self._flow_run_id: str | None = flow_run.id
        self._task_run_id: str | None = task_run.id
        self._waiting: list[GameRecord] = []
        self._due = float("inf")

    def add(self, record: GameRecord) -> None:
        """Take a finished game; it is on disk at the latest :data:`RECORD_SECONDS` and a tick later."""
        record = replace(record, host=self._host, flow_run_id=self._flow_run_id, task_run_id=self._task_run_id)
        self._waiting.append(record)
        self._due = min(self._due, time.monotonic() + RECORD_SECONDS)
        self.counts[record.status] += 1
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has waited long enough."""
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write everything that waits."""
        waiting = self._waiting
        if waiting:
            self.store.record(self.run_id, waiting)
            announce_records(waiting)
        self._waiting, self._due = [], float("inf")
        if waiting and self.on_recorded is not None:
            self.on_recorded(waiting)


def _with_present_ids(game: PlannedGame, identities: dict[str, str]) -> PlannedGame:
    """A repaired agent has another content hash than when the run was planned; its new rows carry the new one."""
    return replace(game, first_agent_id=identities[game.first_agent], second_agent_id=identities[game.second_agent])
