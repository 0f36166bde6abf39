"""The stages that several flows share: plain functions called inside a flow, which submit tasks and wait for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Cancelled, Completed, Failed

from banzuke.progress import announce_plan, announce_problem, announce_stage
from banzuke.record import PlannedGame
from banzuke.schedule.batches import cut_batches
from banzuke.workers.pool import WorkerPool
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.evaluate import Fitness, probe_agent, record_fitness, score_agent, unscored
from tasks.play import play_games
from tasks.publish import show_progress
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


def play_missing(
    spec_json: str,
    store: str,
    run_id: str,
    pool: WorkerPool,
    fitness: Mapping[str, Fitness],
    *,
    only: Collection[str] | None = None,
) -> None:
    """Play every game without a counting result whose two agents are fit.

    Args:
        spec_json: the effective spec.
        store: where the run is.
        run_id: which run.
        pool: whose workers play.
        fitness: of the agents that may play; a game of anybody else stays missing.
        only: ids of the games to play; None for all that are missing.
    """
    fit = {agent for agent, found in fitness.items() if found.fit}
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    announce_plan(planned=len(ledger.plan), counting=len(ledger.plan) - len(missing))
    wanted = missing if only is None else missing.intersection(only)
    todo = [
        game for game in ledger.plan if game.game_id in wanted and game.first_agent in fit and game.second_agent in fit
    ]
    if not todo or pool.stop.is_set():
        return
    announce_stage("tournament", f"{len(todo)} games of {len(ledger.plan)} to play")

    def seconds_of(game: PlannedGame) -> float:
        pace = fitness[game.first_agent].move_ms + fitness[game.second_agent].move_ms
        return 0.05 + PLIES_EXPECTED / 2 * pace / 1000

    batches = cut_batches(todo, seconds_of=seconds_of, workers=pool.size)
    futures = [
        play_games.submit(spec_json, store, run_id, number, len(batches), [game.game_id for game in batch])
        for number, batch in enumerate(batches, start=1)
    ]
    _follow(store, futures, batches, run_id, counting=len(ledger.plan) - len(missing), planned=len(ledger.plan))


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


def _follow(
    store: str,
    futures: Sequence[PrefectFuture[Any]],
    batches: Sequence[Sequence[PlannedGame]],
    run_id: str,
    *,
    counting: int,
    planned: int,
) -> None:
    sizes = {future.task_run_id: len(batch) for future, batch in zip(futures, batches, strict=True)}
    artifact = show_progress(run_id, counting, planned)
    for finished, future in enumerate(as_completed(list(futures)), start=1):
        future.wait()
        if finished % COMPACT_EVERY == 0:
            GameStore(store).compact(run_id)
        state = future.state
        if state.is_completed():
            counting += future.result().counting
        else:
            announce_problem(f"a batch of {sizes[future.task_run_id]} games failed: {state.message}")
        show_progress(run_id, counting, planned, artifact)
