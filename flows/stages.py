"""The stages that several flows share: plain functions called inside a flow, which submit tasks and wait for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Cancelled, Completed, Failed

from banzuke.errors import StorageError
from banzuke.progress import announce_plan, announce_problem, announce_skipped, announce_stage
from banzuke.record import PlannedGame
from banzuke.schedule.batches import cut_batches
from banzuke.workers.pool import WorkerPool
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.evaluate import Fitness, probe_agent, record_fitness, record_put_off, score_agent, unscored
from tasks.play import BatchReport, play_games
from tasks.publish import show_progress
from tasks.runs import parse_spec
from tasks.summary import Summary

COMPACT_EVERY = 8
"""Batches between two compactions while games are played: every batch reads the ledger, which costs by the file."""

PLIES_EXPECTED = 100
"""A typical game, for cutting batches only."""


def evaluate(
    spec_json: str, store: str, run_id: str, pool: WorkerPool, *, agents: Collection[str]
) -> dict[str, Fitness]:
    """Probe agents, all at once as far as there are workers; score on the suite those that may enter.

    Returns:
        What was found out, by agent; empty where the run was stopped meanwhile.
    """
    if not agents:
        return {}
    announce_stage("evaluate", f"{len(agents)} agents")
    probes = [probe_agent.submit(spec_json, store, run_id, agent) for agent in agents]
    wait_for(probes)
    if pool.stop.is_set():
        return {}
    fitness = {found.agent: found for found in (probe.result() for probe in probes)}
    fit = [agent for agent, found in fitness.items() if found.fit]
    for agent, found in fitness.items():
        if not found.fit:
            announce_problem(f"unfit, left out: {agent}: {found.reason}")
    scores = [
        score_agent.submit(spec_json, store, run_id, agent, part, pool.size)
        for agent in unscored(spec_json, store, run_id, fit)
        for part in range(1, pool.size + 1)
    ]
    wait_for(scores)
    record_fitness(spec_json, store, run_id, list(fitness.values()))
    return {} if pool.stop.is_set() else fitness


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """What of one run is to be played now."""

    spec_json: str
    run_id: str
    planned: int
    counting: int
    """Before."""
    batches: Sequence[Sequence[PlannedGame]]


def plan_batches(
    spec_json: str,
    store: str,
    run_id: str,
    pool: WorkerPool,
    fitness: Mapping[str, Fitness],
    *,
    only: Collection[str] | None = None,
) -> Todo:
    """Cut every game without a counting result whose two agents are fit into batches.

    Args:
        spec_json: the effective spec.
        store: where the run is.
        run_id: which run.
        pool: whose workers will play.
        fitness: of the agents that may play; a game of anybody else stays missing.
        only: ids of the games to play; None for all that are missing.
    """
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    planned, counting = len(ledger.plan), len(ledger.plan) - len(missing)
    announce_plan(planned=planned, counting=counting)
    wanted = missing if only is None else missing.intersection(only)
    todo = []
    for game in ledger.plan:
        if game.game_id in wanted:
            unfit = _unfit(game, fitness)
            if unfit is None:
                todo.append(game)
            elif not pool.stop.is_set():
                announce_skipped(game.game_id, unfit)

    plies = min(PLIES_EXPECTED, parse_spec(spec_json).tournament.max_plies)

    def seconds_of(game: PlannedGame) -> float:
        pace = fitness[game.first_agent].move_ms + fitness[game.second_agent].move_ms
        return 0.05 + plies / 2 * pace / 1000

    batches = cut_batches(todo, seconds_of=seconds_of, workers=pool.size)
    return Todo(spec_json=spec_json, run_id=run_id, planned=planned, counting=counting, batches=batches)


def play_missing(store: str, todos: Sequence[Todo], pool: WorkerPool) -> None:
    """Play what is to be played, of one run or of several, and write down whose games were put off."""
    todos = [todo for todo in todos if todo.batches]
    if pool.stop.is_set():
        return
    if not todos:
        announce_stage("tournament", "nothing to play")
        return
    games, planned = sum(len(batch) for todo in todos for batch in todo.batches), sum(todo.planned for todo in todos)
    announce_stage("tournament", f"{games} games of {planned} to play")
    batches = [
        _Batch(
            todo=todo,
            games=len(batch),
            future=play_games.submit(
                todo.spec_json, store, todo.run_id, number, len(todo.batches), [game.game_id for game in batch]
            ),
        )
        for todo in todos
        for number, batch in enumerate(todo.batches, start=1)
    ]
    _follow(store, batches, pool)
    for todo in todos:
        put_off = pool.breaker(todo.run_id, parse_spec(todo.spec_json).limits.put_off_after).put_off
        if put_off:
            record_put_off(store, todo.run_id, put_off)


def end_state(summary: Summary, *, stopped: bool) -> State[Summary]:
    """What the run's end looks like in Prefect: red and retriable unless every planned game counts."""
    message = (
        f"{summary.counting} of {summary.planned} games count; "
        f"{summary.voids} void, {summary.missing} missing, {len(summary.unfit)} agents unfit"
    )
    if stopped and summary.counting < summary.planned:
        return Cancelled(name="Stopped", message=message, data=summary)
    if summary.is_complete:
        return Completed(message=message, data=summary)
    return Failed(name="Degraded", message=message, data=summary)


def wait_for(futures: Sequence[PrefectFuture[Any]]) -> None:
    """Every future, to its end; a submission that is not waited for is dropped when the flow ends."""
    for future in futures:
        future.wait()


def _unfit(game: PlannedGame, fitness: Mapping[str, Fitness]) -> str | None:
    """Which agent of the game may not play, and why; None where both may."""
    for agent in (game.first_agent, game.second_agent):
        found = fitness.get(agent)
        if found is None or not found.fit:
            return f"{agent} is unfit: {found.reason if found is not None else 'not evaluated'}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """A batch that was handed in."""

    todo: Todo
    games: int
    future: PrefectFuture[BatchReport]


def _follow(store: str, batches: Sequence[_Batch], pool: WorkerPool) -> None:
    """Wait for every batch.

    Raises:
        StorageError: games could not be recorded. What cannot be kept need not be played: all batches are stopped.
    """
    handed_in = {batch.future.task_run_id: batch for batch in batches}
    finished: Counter[str] = Counter()
    counting = {batch.todo.run_id: batch.todo.counting for batch in batches}
    shown = {
        run_id: show_progress(run_id, todo.counting, todo.planned)
        for run_id, todo in {batch.todo.run_id: batch.todo for batch in batches}.items()
    }
    unkept: StorageError | None = None
    for future in as_completed([batch.future for batch in batches]):
        future.wait()
        batch = handed_in[future.task_run_id]
        run_id = batch.todo.run_id
        finished[run_id] += 1
        if future.state.is_completed():
            counting[run_id] += future.result().counting
        elif isinstance(failure := future.result(raise_on_failure=False), StorageError):
            unkept = unkept or failure
            pool.stop.set()
        else:
            announce_problem(f"a batch of {batch.games} games failed: {future.state.message}")
        if unkept is None and finished[run_id] % COMPACT_EVERY == 0:
            GameStore(store).compact(run_id, thorough=False)
        show_progress(run_id, counting[run_id], batch.todo.planned, shown[run_id])
    if unkept is not None:
        raise StorageError(f"games can no longer be recorded, so no more are played: {unkept}") from unkept
