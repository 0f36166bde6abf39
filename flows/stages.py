"""The stages that several flows share: plain functions called inside a flow, which submit tasks and wait for all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed

from banzuke.progress import announce_plan, announce_problem, announce_skipped, announce_stage
from banzuke.ratings.standings import Difference
from banzuke.record import PlannedGame
from banzuke.schedule.batches import cut_batches, cut_evenly, cut_for_verdict
from banzuke.workers.hall import lanes_of, order_of_play
from banzuke.workers.pool import WorkerPool
from flows.play_batches import Todo, play_batches
from storage.game_store import GameStore
from storage.ledger import Ledger
from tasks.evaluate import Fitness, probe_agent, record_fitness, record_put_off, score_agent, unscored
from tasks.publish import persist_run
from tasks.rate import publish_standings
from tasks.runs import parse_spec
from tasks.steps import plan_step
from tasks.summary import Summary

P = ParamSpec("P")
R = TypeVar("R")
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
    fitness = probe(spec_json, store, run_id, pool, agents)
    if pool.stop.is_set():
        return {}
    fit = [agent for agent, found in fitness.items() if found.fit]
    scores = [
        score_agent.submit(spec_json, store, run_id, agent, part, pool.size)
        for agent in unscored(spec_json, store, run_id, fit)
        for part in range(1, pool.size + 1)
    ]
    wait_for(scores)
    record_fitness(spec_json, store, run_id, list(fitness.values()))
    return {} if pool.stop.is_set() else fitness


def probe(spec_json: str, store: str, run_id: str, pool: WorkerPool, agents: Collection[str]) -> dict[str, Fitness]:
    """Probe agents, all at once as far as there are workers; what was found out, nothing if the run was stopped."""
    probes = [probe_agent.submit(spec_json, store, run_id, agent) for agent in agents]
    wait_for(probes)
    if pool.stop.is_set():
        return {}
    fitness = {found.agent: found for found in (probe.result() for probe in probes)}
    for agent, found in fitness.items():
        if not found.fit:
            announce_problem(f"unfit, left out: {agent}: {found.reason}")
    return fitness


def plan_batches(
    spec_json: str,
    store: str,
    run_id: str,
    pool: WorkerPool,
    fitness: Mapping[str, Fitness],
    *,
    only: Collection[str] | None = None,
    hosts: int = 1,
) -> Todo:
    """Cut every game without a counting result whose two agents are fit into batches.

    Args:
        spec_json: the effective spec.
        store: where the run is.
        run_id: which run.
        pool: whose workers will play.
        fitness: of the agents that may play; a game of anybody else stays missing.
        only: ids of the games to play; None for all that are missing.
        hosts: how many machines play the run at the same time.
    """
    ledger = Ledger(GameStore(store), run_id)
    missing = set(ledger.missing_ids())
    planned, counting = len(ledger.plan), ledger.tallies().counting
    announce_plan(run_id, planned=planned, counting=counting)
    wanted = missing if only is None else missing.intersection(only)
    todo = []
    for game in ledger.plan:
        if game.game_id in wanted:
            unfit = _unfit(game, fitness)
            if unfit is None:
                todo.append(game)
            elif not pool.stop.is_set():
                announce_skipped(game.game_id, unfit)

    spec = parse_spec(spec_json)
    plies = min(PLIES_EXPECTED, spec.tournament.max_plies)

    def seconds_of(game: PlannedGame) -> float:
        pace = fitness[game.first_agent].move_ms + fitness[game.second_agent].move_ms
        return 0.05 + plies / 2 * pace / 1000

    at_tables: list[PlannedGame] = []
    in_hall: list[PlannedGame] = []
    for game in todo:
        (at_tables if spec.needs_table((game.first_agent, game.second_agent)) else in_hall).append(game)
    lanes = lanes_of(spec)
    if pool.referee(run_id) is not None:
        table_batches = cut_for_verdict(at_tables, seconds_of=seconds_of, fewest=2)
        hall_batches = cut_for_verdict(in_hall, seconds_of=seconds_of, fewest=lanes // 2)
    else:
        table_batches = cut_batches(at_tables, seconds_of=seconds_of, workers=pool.size)
        hall_batches = cut_evenly(order_of_play(in_hall, spec), seconds_of=seconds_of, fewest=lanes // 2)
    return Todo(
        spec_json=spec_json,
        run_id=run_id,
        planned=planned,
        at_tables=table_batches,
        in_hall=hall_batches,
        lanes=lanes,
        hosts=hosts,
    )


def play_in_steps(
    spec_json: str,
    store: str,
    run_id: str,
    pool: WorkerPool,
    fitness: Mapping[str, Fitness],
    *,
    only: Collection[str] | None = None,
) -> None:
    """Play what is missing; in an adaptive tournament then what each further step plans, until none follows.

    A step is planned when no game of those before it is left to be tried: a void game that was tried often enough is
    missing from the results, and from no later step. ``only`` is as in :func:`plan_batches`, for what is planned now.
    """
    play_missing(store, [plan_batches(spec_json, store, run_id, pool, fitness, only=only)], pool)
    spec = parse_spec(spec_json)
    while spec.tournament.format == "adaptive" and not pool.stop.is_set():
        put_off = pool.breaker(run_id, spec.limits.put_off_after).put_off
        able = [agent for agent, found in fitness.items() if found.fit and agent not in put_off]
        step = plan_step(spec_json, store, run_id, able)
        if not step:
            return
        play_missing(store, [plan_batches(spec_json, store, run_id, pool, fitness, only=step)], pool)
        if not pool.stop.is_set() and Ledger(GameStore(store), run_id).has_none_of(step):
            announce_problem("no game of the last step has a result: no further one is planned")
            return


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
    play_batches(store, todos, pool)
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
    if summary.sprt is not None:
        message += f"; {summary.sprt.figures['verdict']} after {summary.sprt.figures['pairs']} pairs"
    if stopped and summary.has_more and not summary.has_ended:
        return Cancelled(name="Stopped", message=message, data=summary)
    if summary.has_ended:
        return Completed(message=message, data=summary)
    return Failed(name="Degraded", message=message, data=summary)


def conclude(store: str, run_id: str, pool: WorkerPool) -> tuple[Summary, Difference | None]:
    """Rate what a run has, publish it and sum it up; also of a run that was stopped.

    Returns:
        What became of it, and how much stronger its newest checkpoint is than the one before.
    """
    step = plainly_if_stopped(publish_standings, pool)(store, run_id)
    return plainly_if_stopped(persist_run, pool)(store, run_id), step


@contextlib.contextmanager
def shown_if_paused(store: str, run_id: str, pool: WorkerPool) -> Iterator[None]:
    """What a run has is shown also where Prefect ends the block, wherever a task of it ends, because it is paused.

    Raises:
        Pause: it is; at its end.
    """
    try:
        yield
    except Pause:
        pool.stop.set()
        conclude(store, run_id, pool)
        raise


def plainly_if_stopped(task: Task[P, R], pool: WorkerPool) -> Callable[P, R]:
    """A task; where the run is stopped what it does, without Prefect, which begins no task of a run that is paused."""
    return task.fn if pool.stop.is_set() else task


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
